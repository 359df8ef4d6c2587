"""Compile the Triton step for sm_90 without a GPU and print what the machine code does; run by test_fused_cuda.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.backends.nvidia import compiler as nvidia
from triton.compiler import ASTSource

from dualadam.optim import _kernel_triton, _triton_code

CUOBJDUMP = Path(nvidia.__file__).parent / "bin" / "cuobjdump"


def report(name: str, kernel: triton.JITFunction, signature: dict[str, str], constants: dict[str, object], folder: Path) -> None:
    """Print one line about the kernel's machine code."""
    signature |= dict.fromkeys(constants, "constexpr")
    aligned = {(i,): [["tt.divisibility", 16]] for i, kind in enumerate(signature.values()) if kind.startswith("*")}
    source = ASTSource(kernel, signature, constants, aligned)
    options = {"num_warps": _kernel_triton.WARPS, "enable_fp_fusion": False}
    compiled = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
    cubin = folder / f"{name}.cubin"
    cubin.write_bytes(compiled.asm["cubin"])
    dump = subprocess.run([CUOBJDUMP, "-sass", "-res-usage", cubin], capture_output=True, text=True, check=True).stdout
    loads, stores, spilled = (len(re.findall(code, dump)) for code in (r"LDG\.E\.128", r"STG\.E\.128", r"\b(?:LDL|STL)\b"))
    stack = re.search(r"STACK:(\d+)", dump)
    assert stack is not None, dump[:2000]
    print(f"{name}: {loads} wide loads, {stores} wide stores, {spilled} spilled, stack {stack[1]}")


def main(folder: Path) -> None:
    """Report the plain case, the dearest one, unaligned tensors and the small kernel."""
    pointers = {"table": "*i64", "chunks": "*i32", "rows": "*fp64"}
    sizes = {"CHUNK": _kernel_triton.CHUNK, "BLOCK": _kernel_triton.BLOCK}
    for name, state, noisy, aligned in (
        ("float32", tl.float32, False, True),
        ("float32-bfloat16-noisy", tl.bfloat16, True, True),
        ("unaligned", tl.float32, False, False),
    ):
        constants = {"PARAM": tl.float32, "STATE": state, "STOCHASTIC": noisy, "ALIGNED": aligned, **sizes}
        report(name, _triton_code.advance, dict(pointers), constants, folder)
    numbers = dict.fromkeys(("eps", "weight_decay", "switch_rate", "sign"), "i64")
    signature = {"table": "*i64", "rows": "*fp64", "num_tensors": "i32", "lr": "*fp32", "beta1": "i64", "beta2": "i64", **numbers}
    signature |= {"grad_scale": "*fp32", "found_inf": "*fp32"}
    constants = {
        "LR_ON_DEVICE": True,
        "BETAS_ON_DEVICE": False,
        "HAS_SCALE": True,
        "HAS_FOUND_INF": True,
        "BLOCK": _kernel_triton.PREPARE_BLOCK,
    }
    report("prepare", _triton_code.prepare, signature, constants, folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
