"""Check, tune and time the CUDA step on a machine with a GPU.

    python benchmarks/cuda_kernel.py

Needs a CUDA build of torch with its Triton, and pytest for the checks (not with --skip-checks). Of
this package only the optimizers are needed. The record has the sizes of chunk, block and warps that
were tried, the times of interleaved rounds by CUDA events, and the share of the copy bandwidth.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import torch  # noqa: E402

from dualadam import DualAdam  # noqa: E402
from dualadam.optim import fused_status  # noqa: E402
from dualadam.optim._kernels import triton as triton_kernel  # noqa: E402

BYTES = 28  # a float32 parameter: reads p, g, m, v and writes p, m, v
CHECKS = [
    ROOT / "tests" / "optim" / "test_fused_gpu.py",
    ROOT / "tests" / "clients" / "test_training_tools.py",
]
TUNED = list(itertools.product((8_192, 16_384, 32_768, 65_536), (512, 1_024, 2_048), (4, 8)))
MOST_RATIO, LEAST_SHARE = 1.00, 0.90  # of torch's fused AdamW's time, of the copy bandwidth


def resnet18_shapes() -> list[tuple[int, ...]]:
    """Return the shapes of ResNet-18 for 1,000 classes: 11.7 M parameters."""
    shapes: list[tuple[int, ...]] = [(64, 3, 7, 7), (64,), (64,)]
    before = 64
    for width in (64, 128, 256, 512):
        for block in range(2):
            for size, inputs in ((3, before), (3, width)):
                shapes += [(width, inputs, size, size), (width,), (width,)]
            if block == 0 and before != width:
                shapes += [(width, before, 1, 1), (width,), (width,)]
            before = width
    return [*shapes, (1000, 512), (1000,)]


def vit_shapes(width: int = 384, depth: int = 12) -> list[tuple[int, ...]]:
    """Return the shapes of ViT-S/16 for 1,000 classes: 22 M parameters."""
    layer = (
        [(width,)] * 2
        + [(3 * width, width), (3 * width,), (width, width), (width,)]
        + [(width,)] * 2
    )
    layer += [(4 * width, width), (4 * width,), (width, 4 * width), (width,)]
    return [
        (width, 3, 16, 16),
        (width,),
        (1, 1, width),
        (1, 197, width),
        *layer * depth,
        (width,),
        (width,),
        (1000, width),
        (1000,),
    ]


LISTS: dict[str, list[tuple[int, ...]]] = {
    "one tensor of 50 M": [(50_000_000,)],
    "ResNet-18": resnet18_shapes(),
    "ViT-S": vit_shapes(),
    "1,000 tensors of 256": [(256,)] * 1000,
}


def clock(action: Callable[[], Any]) -> float:
    """Return the seconds between two events around an action."""
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    action()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3


def interleaved(actions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Time the actions in turn, after three rounds that compile and create state."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for i in range(rounds + 3):
        for name, action in actions.items():
            seconds = clock(action)
            if i >= 3:
                times[name].append(seconds)
    return times


def make_params(shapes: list[tuple[int, ...]]) -> list[torch.nn.Parameter]:
    """Return parameters with gradients on the device."""
    generator = torch.Generator("cuda").manual_seed(0)
    params = [
        torch.nn.Parameter(torch.randn(s, device="cuda", generator=generator) * 0.02)
        for s in shapes
    ]
    for p in params:
        p.grad = torch.randn(p.shape, device="cuda", generator=generator) * 1e-3
    return params


def copy_bandwidth(rounds: int) -> float:
    """Return the bytes read and written per second when a large tensor is copied."""
    source = torch.empty(200_000_000, device="cuda")
    target = torch.empty_like(source)
    seconds = interleaved({"copy": lambda: target.copy_(source)}, rounds)["copy"]
    return 8 * source.numel() / statistics.median(seconds)


def tune(rounds: int) -> list[dict[str, float]]:
    """Time every tuning on the large tensor, set the best one, and return all, best first."""
    params = make_params(LISTS["one tensor of 50 M"])
    optimizer = DualAdam(params, lr=1e-6, switch_rate=1e-6, fused=True)
    tried = []
    for chunk, block, warps in TUNED:
        triton_kernel.CHUNK, triton_kernel.BLOCK, triton_kernel.WARPS = chunk, block, warps
        seconds = statistics.median(interleaved({"step": optimizer.step}, rounds)["step"])
        tried.append({"chunk": chunk, "block": block, "warps": warps, "seconds": seconds})
    tried.sort(key=lambda row: row["seconds"])
    triton_kernel.CHUNK, triton_kernel.BLOCK, triton_kernel.WARPS = (
        int(tried[0][k]) for k in ("chunk", "block", "warps")
    )
    return tried


def compare(name: str, bandwidth: float, rounds: int) -> dict[str, Any]:
    """Time a step on one list against torch's fused AdamW; both share the parameters."""
    params = make_params(LISTS[name])
    num = sum(p.numel() for p in params)
    ours, theirs = (
        DualAdam(params, lr=1e-6, switch_rate=1e-6, fused=True),
        torch.optim.AdamW(params, lr=1e-6, fused=True),
    )
    times = interleaved({"ours": ours.step, "theirs": theirs.step}, rounds)
    ratios = [a / b for a, b in zip(times["ours"], times["theirs"], strict=True)]
    seconds = {key: statistics.median(values) for key, values in times.items()}
    share = BYTES * num / seconds["ours"] / bandwidth
    return {
        "list": name,
        "parameters": num,
        "tensors": len(params),
        **seconds,
        "ratio": statistics.median(ratios),
        "share_of_copy": share,
    }


def verdict(rows: list[dict[str, Any]]) -> list[str]:
    """Compare every row with its limit, in a sentence each."""

    def line(name: str, value: float, of: str, limit: str, reached: bool) -> str:
        return f"{name}: {value:.3f} of {of}, limit {limit}: {'reached' if reached else 'missed'}"

    adamw = "the time of torch's fused AdamW"
    lines = [
        line(row["list"], row["ratio"], adamw, f"<= {MOST_RATIO}", row["ratio"] <= MOST_RATIO)
        for row in rows
    ]
    share = rows[0]["share_of_copy"]
    enough = share >= LEAST_SHARE
    return [*lines, line(rows[0]["list"], share, "the bandwidth", f">= {LEAST_SHARE}", enough)]


def main() -> None:
    """Check, tune, time, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--skip-checks", action="store_true", help="do not run the tests first")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument(
        "--out",
        type=Path,
        default=ROOT / "benchmarks" / "records" / f"{datetime.date.today()}_cuda-kernel",
    )
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("This benchmark needs a CUDA device, and torch finds none.")
    status = fused_status(device="cuda")
    if not status.available:
        sys.exit(f"This benchmark needs the Triton kernel: {status.reason}.")
    if not options.skip_checks:
        command = [sys.executable, "-m", "pytest", "-q", "-m", "gpu", *map(str, CHECKS)]
        if subprocess.run(command, cwd=ROOT, check=False).returncode:
            sys.exit("The checks failed: nothing was timed.")
    bandwidth = copy_bandwidth(options.rounds)
    tried = tune(max(options.rounds // 5, 5))
    rows = [compare(name, bandwidth, options.rounds) for name in LISTS]
    environment = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    record = {
        "environment": environment,
        "copy_bytes_per_second": bandwidth,
        "tuning": tried,
        "rows": rows,
        "verdicts": verdict(rows),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "record.json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"Best: {tried[0]}", *record["verdicts"], f"Record: {options.out}/record.json", sep="\n")


if __name__ == "__main__":
    main()
