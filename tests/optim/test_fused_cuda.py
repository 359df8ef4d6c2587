"""The fused step for CUDA as far as it shows without a GPU; and shards, on any device."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from dualadam import DualAdam
from dualadam.optim import fused_status
from dualadam.optim._kernels import triton as triton_kernel
from dualadam.optim._kernels.torch_fused import update_torch_fused
from dualadam.optim._step.columns import Columns
from dualadam.optim._step.loop import update_loop
from dualadam.optim._step.settings import StepSettings

HERE = Path(__file__).parent


def start(script: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    env = {
        **os.environ,
        "PYTHONPATH": str(HERE.parents[1] / "src"),
        "OMP_NUM_THREADS": "1",
        **environment,
    }
    command = [sys.executable, str(HERE / script), *arguments]
    return subprocess.Popen(
        command, env=env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def finish(*processes: subprocess.Popen[str]) -> list[str]:
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert all(process.returncode == 0 for process in processes), "\n".join(outputs)
    return outputs


def test_a_run_on_the_cpu_never_imports_triton() -> None:
    code = (  # torch imports Triton itself, where it is installed, for any optimizer of its own
        "import sys, torch\n"
        "from dualadam import DualAdam\n"
        "from dualadam.optim import fused_status\n"
        "p = torch.ones(3, requires_grad=True)\n"
        "p.grad = torch.ones(3)\n"
        "torch.optim.AdamW([p]).step()\n"
        "before = set(sys.modules)\n"
        "o = DualAdam([p], fused=True); o.step(); fused_status(o)\n"
        "ours = 'dualadam.optim._kernels.triton'\n"
        "assert not [m for m in set(sys.modules) - before if 'triton' in m and m != ours]\n"
        "assert 'dualadam.optim._kernels.triton_code' not in sys.modules"
    )
    subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        env={**os.environ, "PYTHONPATH": str(HERE.parents[1] / "src")},
    )


def test_two_processes_step_and_diagnose_their_shards_as_one_would_the_whole(
    tmp_path: Path,
) -> None:
    finish(*(start("fused_shards.py", str(rank), str(tmp_path / "store")) for rank in range(2)))


def normal(shape: tuple[int, ...], seed: int, dtype: torch.dtype) -> Tensor:
    return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("switch_rate", [0.0, 0.2, 1.0])
@pytest.mark.parametrize("maximize", [False, True])
def test_torchs_fused_adamw_and_a_foreach_part_are_the_loop(
    dtype: torch.dtype, switch_rate: float, maximize: bool
) -> None:
    """On the CPU the step itself prefers the loop, so the function is called directly.

    The second tensor joins two steps late and mixes for longer.
    """
    settings = StepSettings(
        lr=1e-2,
        beta1=0.9,
        beta2=0.99,
        eps=1e-8,
        weight_decay=0.1,
        switch_rate=switch_rate,
        maximize=maximize,
        on_device=False,
        stochastic_rounding=False,
    )
    shapes = ((100, 3), (7,), (0,), ())
    ends = []
    for update in (update_loop, update_torch_fused):
        params = [normal(s, i, dtype) for i, s in enumerate(shapes)]
        columns = Columns(
            params=params,
            grads=[],
            exp_avgs=[torch.zeros_like(p) for p in params],
            exp_avg_sqs=[torch.zeros_like(p) for p in params],
            steps=[torch.zeros(()) for _ in shapes],
            places=list(range(len(shapes))),
        )
        for step in range(9):
            grads = [normal(s, 100 + 10 * step + i, dtype) for i, s in enumerate(shapes)]
            joined = [i for i in range(len(shapes)) if i != 1 or step >= 2]
            update(columns._replace(grads=grads).pick(joined), settings)
        ends.append([*params, *columns.exp_avgs, *columns.exp_avg_sqs, *columns.steps])
    # a few roundings in each of 9 steps, of numbers up to about 4
    eps = torch.finfo(dtype).eps
    for e, a in zip(*ends, strict=True):
        torch.testing.assert_close(a, e, rtol=40 * eps, atol=40 * eps)


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without a GPU is told")
def test_the_status_says_that_there_is_no_gpu() -> None:
    assert str(fused_status(device="cuda")) == "fused: not available: torch finds no CUDA device."


def test_a_tensor_lr_reaches_the_kernel_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading it on the host would wait for the device."""
    seen: list[Any] = []
    monkeypatch.setattr(
        "dualadam.optim._step.paths.update_fused",
        lambda columns, settings: seen.append(settings.lr),
    )
    p, lr = torch.nn.Parameter(torch.ones(3)), torch.tensor(1e-3)
    p.grad = torch.ones(3)
    DualAdam([p], lr=lr, fused=True).step()
    assert seen[0] is lr


def load_benchmark() -> Any:
    spec = importlib.util.spec_from_file_location(
        "cuda_kernel", HERE.parents[1] / "benchmarks" / "cuda_kernel.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.skipif(torch.cuda.is_available(), reason="says what a machine without a GPU is told")
def test_the_benchmark_refuses_in_one_sentence_without_a_gpu(tmp_path: Path) -> None:
    command = [
        sys.executable,
        str(HERE.parents[1] / "benchmarks" / "cuda_kernel.py"),
        "--out",
        str(tmp_path / "record"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.strip() == "This benchmark needs a CUDA device, and torch finds none."
    assert not (tmp_path / "record").exists()


def test_the_benchmark_times_the_networks_it_names_and_judges_by_the_bars(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    benchmark = load_benchmark()
    sizes = {
        name: sum(math.prod(shape) for shape in shapes) for name, shapes in benchmark.LISTS.items()
    }
    # torchvision's resnet18 has 11,689,512 parameters, timm's vit_small_patch16_224 22,050,664
    assert list(sizes.values()) == [50_000_000, 11_689_512, 22_050_664, 256_000]
    rows = [
        {"list": "a", "case": "c", "ratio_device": 1.0, "limit": 1.0, "share_of_copy": 0.89},
        {"list": "a", "case": "d", "ratio_device": 3.0, "limit": None, "share_of_copy": 0.89},
        {"list": "b", "case": "c", "ratio_device": 1.01, "limit": 1.0, "share_of_copy": 0.1},
    ]
    assert [line.rsplit(" ", 1)[1] for line in benchmark.verdict(rows)] == [
        "reached",
        "missed",
        "missed",
    ]


def test_the_pages_show_the_recorded_ratios() -> None:
    root = HERE.parents[1]
    folder = root / "benchmarks/records/2026-11-26_cuda-kernel"
    ratios: dict[str, list[str]] = {}
    for row in json.loads((folder / "record.json").read_text())["rows"]:
        ratios.setdefault(row["case"], []).append(f"{row['ratio_device']:.2f}")
    assert len(ratios) == 5
    for page in (folder / "README.md", root / "docs/fused.md"):
        text = page.read_text()
        for case, shown in ratios.items():
            assert f"| {case} | {' | '.join(shown)} |" in text


def test_the_sizes_are_the_fastest_of_the_record() -> None:
    record = HERE.parents[1] / "benchmarks/records/2026-11-26_cuda-kernel/record.json"
    states = {
        "float32": torch.float32,
        "float32, bfloat16 state": torch.bfloat16,
        "float32, 8-bit state": torch.uint8,
    }
    for case, tried in json.loads(record.read_text())["tuning"].items():
        fastest = min(tried, key=lambda row: row["seconds"])
        sizes = tuple(fastest[name] for name in triton_kernel.Tuning._fields)
        assert triton_kernel.TUNING[states[case]] == sizes
