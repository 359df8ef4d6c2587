"""The CUDA kernel without a GPU: interpreted, against the loop; and compiled for a Hopper GPU."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from triton_cases import CASES

HAS_WHEEL = sys.platform == "linux" and os.uname().machine == "x86_64"
pytestmark = pytest.mark.skipif(not HAS_WHEEL, reason="Triton has no wheel for this platform")
HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def interpreted() -> dict[str, dict[str, Any]]:
    """Return the results of every case, from a process whose triton interprets."""
    # NumPy emulates the device, and warns of the inf / inf of a gradient that is not finite
    command = [
        sys.executable,
        "-W",
        "error",
        "-W",
        "ignore::RuntimeWarning",
        str(HERE / "triton_cases.py"),
    ]
    done = subprocess.run(
        command,
        env={**os.environ, "TRITON_INTERPRET": "1", "PYTHONPATH": str(HERE.parents[1] / "src")},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return {row["name"]: row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("name", CASES)
def test_in_the_interpreter_the_kernel_is_the_loop(
    interpreted: dict[str, dict[str, Any]], name: str
) -> None:
    row = interpreted[name]
    # float32: six steps, each up to a unit, from torch's square root and the order of roundings.
    # Half precision: nearly the same float32 numbers, rounded with the same noise.
    assert row["difference"] <= (4 if CASES[name][0] == torch.float32 else 0)
    # of the largest moment: two roundings per step where the loop has one. In 8 bits the cut hides
    # them, but for a chance of 2^-20 per number and step.
    assert row["moments"] <= (0 if CASES[name][1].get("state_dtype") == torch.uint8 else 2**-21)
    for key in ("same_kind", "steps", "versions", "unchanged_beside"):
        assert row[key], key


def compiled(param: str, state: str, stochastic: bool, aligned: bool) -> Any:
    """Return the main launch, compiled for sm_90."""
    import triton
    import triton.language as tl
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from dualadam.optim._kernels import triton as triton_kernel
    from dualadam.optim._kernels import triton_code

    constants = {
        "PARAM": getattr(tl, param),
        "STATE": getattr(tl, state),
        "STOCHASTIC": stochastic,
        "ALIGNED": aligned,
    }
    tuning = triton_kernel.TUNING[getattr(torch, state)]
    constants |= {"CHUNK": tuning.chunk, "BLOCK": tuning.block}
    signature = {
        "table": "*i64",
        "chunks": "*i32",
        "rows": "*fp64",
        **dict.fromkeys(constants, "constexpr"),
    }
    divisible = {(i,): [["tt.divisibility", 16]] for i in range(3)}
    source = ASTSource(
        fn=triton_code.advance, signature=signature, constexprs=constants, attrs=divisible
    )
    options = {"num_warps": tuning.warps, "enable_fp_fusion": False}
    return triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)


def accesses(kernel: Any) -> Counter[str]:
    """Return how often the PTX reads or writes global memory, by instruction."""
    return Counter(re.findall(r"(?:ld|st)\.global\S*", kernel.asm["ptx"]))


@pytest.mark.parametrize(
    ("param", "state", "stochastic", "loads", "stores"),
    [
        # a thread has 8 elements of p, g, m, v: two 16-byte accesses in float32, one in bfloat16
        ("float32", "float32", False, 8, 6),
        ("bfloat16", "bfloat16", True, 4, 3),
        ("float32", "bfloat16", True, 6, 4),
        ("float16", "float32", False, 6, 5),
    ],
)
def test_compiled_for_sm_90_it_moves_16_bytes_at_once_and_spills_nothing(
    param: str, state: str, stochastic: bool, loads: int, stores: int, tmp_path: Path
) -> None:
    kernel = compiled(param, state, stochastic, True)
    wide = accesses(kernel)
    assert sum(n for name, n in wide.items() if name.startswith("ld") and ".v4." in name) >= loads
    assert sum(n for name, n in wide.items() if name.startswith("st") and ".v4." in name) >= stores
    assert_that_it_fits_into_registers(kernel, tmp_path)


@pytest.mark.parametrize("param", ["float32", "float16", "bfloat16"])
def test_compiled_for_sm_90_moments_in_8_bits_spill_nothing(param: str, tmp_path: Path) -> None:
    assert_that_it_fits_into_registers(compiled(param, "uint8", True, True), tmp_path)


def assert_that_it_fits_into_registers(kernel: Any, tmp_path: Path) -> None:
    import triton

    (tmp_path / "kernel.cubin").write_bytes(kernel.asm["cubin"])
    tool = next(Path(triton.__file__).parent.rglob("cuobjdump"))
    usage = subprocess.run(
        [tool, "-res-usage", tmp_path / "kernel.cubin"], capture_output=True, text=True, check=True
    ).stdout
    stack, local, registers = (
        int(re.search(rf"{name}:(\d+)", usage)[1]) for name in ("STACK", "LOCAL", "REG")
    )  # type: ignore[index]
    assert (stack, local) == (0, 0)  # where spilled registers would lie
    assert registers <= 128  # 512 threads on a multiprocessor


def test_without_the_promise_of_alignment_nothing_is_read_or_written_at_16_bytes() -> None:
    assert not any(
        ".v4." in name for name in accesses(compiled("float32", "float32", False, False))
    )
