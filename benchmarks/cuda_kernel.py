"""Check, tune and time the CUDA step on a machine with a GPU.

    python benchmarks/cuda_kernel.py

Needs a CUDA build of torch with its Triton, and pytest for the checks (not with --skip-checks). Of
this package only the optimizers are needed. The record has the sizes of chunk, block and warps that
were tried for each dtype of the state, and the times of interleaved rounds as ratios to torch's
fused AdamW in float32: on the device by CUDA events while the host is ahead, on the host, and alone
on an idle device.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import math
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "src"))

import torch  # noqa: E402

from dualadam import DualAdam  # noqa: E402
from dualadam.optim import fused_status  # noqa: E402
from dualadam.optim._kernels import triton as triton_kernel  # noqa: E402

CHECKS = [
    ROOT / "tests" / "optim" / "test_fused_gpu.py",
    ROOT / "tests" / "clients" / "test_training_tools.py",
]
HIDING = 40_000_000  # cycles, about 20 ms: longer than the host takes for a step
LEAST_SHARE = 0.90  # of the copy bandwidth, float32, one large tensor


class Case(NamedTuple):
    """A dtype of parameters and one of the state."""

    name: str
    param: torch.dtype
    state: torch.dtype
    bytes: float  # of an element: reads p, g, m, v and writes p, m, v
    most: float | None  # limit, in times of torch's fused AdamW in float32

    def make(self, shapes: list[tuple[int, ...]]) -> DualAdam:
        """Return an optimizer with parameters and gradients on the device."""
        params = make_params(shapes, self.param)
        noisy = {torch.float32} != {self.param, self.state}
        state = None if self.state == torch.float32 else self.state
        return DualAdam(
            params,
            lr=1e-6,
            switch_rate=1e-6,
            fused=True,
            state_dtype=state,
            stochastic_rounding=noisy,
        )


F32, BF16, U8 = torch.float32, torch.bfloat16, torch.uint8
CASES = [
    Case("float32", F32, F32, 28, 1.00),
    Case("float32, bfloat16 state", F32, BF16, 20, 0.75),
    Case("all bfloat16", BF16, BF16, 14, None),
    Case("float32, 8-bit state", F32, U8, 12 + 4 * 65 / 64, None),
    Case("bfloat16, 8-bit state", BF16, U8, 6 + 4 * 65 / 64, None),
]
CHUNKS, WARPS = (16_384, 65_536), (4, 8)
BLOCKS = {F32: (512, 1_024, 2_048), BF16: (512, 1_024, 2_048), U8: (256, 512, 1_024)}
TUNED = {
    state: list(itertools.starmap(triton_kernel.Tuning, itertools.product(CHUNKS, blocks, WARPS)))
    for state, blocks in BLOCKS.items()
}


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


class Times(NamedTuple):
    """Seconds of a step."""

    device: float  # between two events, when the host is ahead: as where a network trains
    host: float  # until the call returns
    alone: float  # between two events on an idle device


def clock(action: Callable[[], Any]) -> Times:
    """Time an action behind other work of the device, and alone."""

    def between_events(cycles: int) -> tuple[float, float]:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        torch.cuda._sleep(cycles)
        begin.record()
        called = time.perf_counter()
        action()
        returned = time.perf_counter()
        end.record()
        torch.cuda.synchronize()
        return begin.elapsed_time(end) / 1e3, returned - called

    device, host = between_events(HIDING)
    return Times(device, host, between_events(1)[0])


def interleaved(actions: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[Times]]:
    """Time the actions in turn, after three rounds that compile and create state."""
    times: dict[str, list[Times]] = {name: [] for name in actions}
    for i in range(rounds + 3):
        for name, action in actions.items():
            taken = clock(action)
            if i >= 3:
                times[name].append(taken)
    return times


def median_device(times: list[Times]) -> float:
    """Return the median time on the device."""
    return statistics.median(t.device for t in times)


def make_params(
    shapes: list[tuple[int, ...]], dtype: torch.dtype = F32
) -> list[torch.nn.Parameter]:
    """Return parameters with gradients on the device."""
    generator = torch.Generator("cuda").manual_seed(0)
    params = [
        torch.nn.Parameter((torch.randn(s, device="cuda", generator=generator) * 0.02).to(dtype))
        for s in shapes
    ]
    for p in params:
        p.grad = (torch.randn(p.shape, device="cuda", generator=generator) * 1e-3).to(dtype)
    return params


def copy_bandwidth(rounds: int) -> float:
    """Return the bytes read and written per second when a large tensor is copied."""
    source = torch.empty(200_000_000, device="cuda")
    target = torch.empty_like(source)
    times = interleaved({"copy": lambda: target.copy_(source)}, rounds)["copy"]
    return 8 * source.numel() / median_device(times)


def tune(case: Case, rounds: int) -> list[dict[str, float]]:
    """Time every tuning on the large tensor, set the best one, and return all, best first."""
    optimizer = case.make(LISTS["one tensor of 50 M"])
    tried = []
    for tuning in TUNED[case.state]:
        triton_kernel.TUNING[case.state] = tuning
        seconds = median_device(interleaved({"step": optimizer.step}, rounds)["step"])
        tried.append({**tuning._asdict(), "seconds": seconds})
    tried.sort(key=lambda row: row["seconds"])
    best = tried[0]
    triton_kernel.TUNING[case.state] = triton_kernel.Tuning(
        best["chunk"], best["block"], best["warps"]
    )
    return tried


def compare(name_of_list: str, bandwidth: float, rounds: int) -> list[dict[str, Any]]:
    """Time a step on one list in every case, in turn with torch's fused AdamW in float32."""
    adamw = torch.optim.AdamW(make_params(LISTS[name_of_list]), lr=1e-6, fused=True)
    steps = {case.name: case.make(LISTS[name_of_list]).step for case in CASES}
    times = interleaved({"AdamW": adamw.step, **steps}, rounds)
    num = sum(math.prod(shape) for shape in LISTS[name_of_list])
    rows = []
    for case in CASES:
        pairs = list(zip(times[case.name], times["AdamW"], strict=True))
        medians = {
            f"ratio_{name}": statistics.median(
                getattr(a, name) / getattr(b, name) for a, b in pairs
            )
            for name in Times._fields
        }
        seconds = {
            f"{whose}_{name}": statistics.median(getattr(t, name) for t in times[key])
            for whose, key in (("ours", case.name), ("adamw", "AdamW"))
            for name in Times._fields
        }
        rows.append(
            {
                "list": name_of_list,
                "case": case.name,
                "parameters": num,
                "tensors": len(LISTS[name_of_list]),
                **medians,
                **seconds,
                "share_of_copy": case.bytes * num / seconds["ours_device"] / bandwidth,
                "limit": case.most,
            }
        )
    return rows


def verdict(rows: list[dict[str, Any]]) -> list[str]:
    """Say of every row that has a limit whether it is reached, in a sentence each."""

    def line(name: str, value: float, of: str, limit: str, reached: bool) -> str:
        return f"{name}: {value:.3f} of {of}, limit {limit}: {'reached' if reached else 'missed'}"

    adamw = "the time of torch's fused AdamW in float32"
    lines = [
        line(
            f"{row['list']}, {row['case']}",
            row["ratio_device"],
            adamw,
            f"<= {row['limit']}",
            row["ratio_device"] <= row["limit"],
        )
        for row in rows
        if row["limit"] is not None
    ]
    share = rows[0]["share_of_copy"]
    enough = share >= LEAST_SHARE
    return [*lines, line(rows[0]["list"], share, "the bandwidth", f">= {LEAST_SHARE}", enough)]


def driver() -> str:
    """Return the version of the driver."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


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
    import triton

    bandwidth = copy_bandwidth(options.rounds)
    tuned = (CASES[0], CASES[1], CASES[3])  # one of each dtype of the state
    tried = {case.name: tune(case, max(options.rounds // 5, 5)) for case in tuned}
    rows = [row for name in LISTS for row in compare(name, bandwidth, options.rounds)]
    environment = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "driver": driver(),
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
    for name, all_tried in tried.items():
        print(f"{name}: best {all_tried[0]}, worst {all_tried[-1]}")
    for row in rows:
        print(
            "{list}, {case}: device {ratio_device:.3f}, {share_of_copy:.2f} of the bandwidth, "
            "host {ratio_host:.3f}, alone {ratio_alone:.3f}".format(**row)
        )
    print(*record["verdicts"], f"Record: {options.out}/record.json", sep="\n")


if __name__ == "__main__":
    main()
