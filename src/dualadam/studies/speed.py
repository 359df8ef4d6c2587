"""How long a step takes on this machine, against torch's own AdamW and against what the memory allows."""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn
from torch.optim import AdamW, Optimizer

from dualadam import DualAdam, __version__
from dualadam.optim import fused_status, memory_traffic
from dualadam.tasks.images.models import resnet18, vit

BYTES = 28  # per float32 parameter: reads p, g, m, v and writes p, m, v
LARGE = 1_000_000  # parameters beyond which a step is out of the caches
BYTES_HALF_STATE = 20  # with m and v in bfloat16
SECONDS = {
    False: (15.0, 32_000_000),
    True: (5.0, 8_000_000),
}  # --quick: seconds a list, elements of the large tensor
FUSED, REFERENCE, HALF_STATE = "DualAdam fused", "AdamW fused", "DualAdam fused, bfloat16 state"
KINDS_OF_OPTIMIZER: Any = (("DualAdam", partial(DualAdam, switch_rate=1e-6)), ("AdamW", AdamW))
KINDS: dict[str, Callable[..., Optimizer]] = {
    f"{name} {path}": partial(kind, **settings)
    for name, kind in KINDS_OF_OPTIMIZER  # stays in the mixing phase, the dearer one
    for path, settings in (
        ("loop", {"foreach": False}),
        ("foreach", {"foreach": True}),
        ("fused", {"fused": True}),
    )
}
KINDS[HALF_STATE] = partial(KINDS[FUSED], state_dtype=torch.bfloat16, stochastic_rounding=True)


def tensor_lists(large: int) -> dict[str, list[tuple[int, ...]]]:
    """Return the lists of shapes that are timed. The large tensor is far beyond any cache."""
    with torch.device("meta"):
        models = {"ResNet-18": resnet18(10, 3, 32), "ViT-S": vit(10, 3, 32)}
    lists = {name: [tuple(p.shape) for p in model.parameters()] for name, model in models.items()}
    return {"one large tensor": [(large,)], **lists, "1,000 tensors of 256": [(256,)] * 1000}


def clock(action: Callable[[], Any], device: str) -> float:
    """Return the seconds that an action takes; on CUDA between two events."""
    if device == "cpu":
        start = time.perf_counter()
        action()
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    action()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / 1e3


def interleaved(
    actions: dict[str, Callable[[], Any]], seconds: float, device: str
) -> dict[str, list[float]]:
    """Time the actions in turn, so that what else the machine does meets them alike, until the time is up.

    The first round creates the state and warms caches. It counts only where it alone took all the time.
    """
    begin = time.monotonic()
    rounds: list[list[float]] = []
    while len(rounds) < 500 and (not rounds or time.monotonic() - begin < seconds):
        rounds.append([clock(action, device) for action in actions.values()])
    return dict(zip(actions, map(list, zip(*(rounds[1:] or rounds), strict=True)), strict=True))


def quartiles(values: list[float]) -> list[float]:
    """Return the 25, 50 and 75 % points."""
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else values * 3


def memory_loops(num: int, device: str) -> dict[str, tuple[int, Callable[[], Any]]]:
    """Return plain loops that show what the memory allows, as (bytes they move, loop): a triad of torch's, and on the CPU the 4 reads and
    3 writes of a step without the step.

    The triad a = b + 3 c counts 16 bytes an element: the memory is read before it is written.
    """
    a, b, c, d = (torch.ones(num, device=device) for _ in range(4))
    loops: dict[str, tuple[int, Callable[[], Any]]] = {
        "triad": (16 * num, lambda: torch.add(b, c, alpha=3, out=a))
    }
    if device == "cpu" and fused_status().available:
        loops["stream"] = BYTES * num, lambda: memory_traffic(d, a, b, c)
    return loops


def measure(
    quick: bool = False,
    device: str = "cpu",
    compiled: bool = False,
    progress: Callable[[str], None] = lambda text: None,
) -> dict[str, Any]:
    """Time all paths on all lists.

    Returns:
        ``environment``; ``limit_gigabytes_per_second`` (quartiles of each loop); ``rows``, one a list and path: seconds, and the ratio to
        torch's fused AdamW of the same round, both as [25 %, 50 %, 75 %], GB/s at the median, and the share of the limit, which is the
        faster loop. The loops run in the rounds of the fused steps of large lists, whose share is the median over these rounds: other
        minutes have other limits. ``subnormals``: the time of a step on subnormal moments over that on normal ones.
    """
    seconds, large = SECONDS[quick]
    rows = []
    limits: dict[
        str, list[float]
    ] = {}  # of the memory loops, with the first list, the large tensor
    for name, shapes in tensor_lists(large).items():
        progress(name)
        params = _params(shapes, device)
        steps: dict[str, Callable[[], Any]] = {
            kind: make(params, lr=1e-6).step
            for kind, make in KINDS.items()
            if _is_there(kind, device)
        }
        if (
            compiled and len(shapes) < 200 and _is_there(FUSED, device)
        ):  # a thousand tensors compile for minutes
            steps[f"{FUSED}, compiled"] = torch.compile(
                KINDS[FUSED](params, lr=torch.tensor(1e-6)).step
            )
            for _ in range(2):  # the second call finds the state there, and compiles for good
                steps[f"{FUSED}, compiled"]()
        # apart: the others take ten times as long, and would leave the fused ones few rounds
        fast = {kind: step for kind, step in steps.items() if "fused" in kind}
        slow = {
            kind: step for kind, step in steps.items() if "fused" not in kind or kind == REFERENCE
        }
        num = sum(p.numel() for p in params)
        # with a list that fits the caches they would empty them: it is held against the limit that the list before it had
        loops = memory_loops(large, device) if not limits or num > LARGE else {}
        of_fast = interleaved(
            fast | {loop: action for loop, (_, action) in loops.items()}, seconds / 2, device
        )
        of_slow = interleaved(slow, seconds / 2, device)
        if loops:
            rates = {
                loop: [moved / t / 1e9 for t in of_fast[loop]] for loop, (moved, _) in loops.items()
            }
            limits = limits or {loop: quartiles(values) for loop, values in rates.items()}
            limit_of_round = [max(values) for values in zip(*rates.values(), strict=True)]
        for kind in steps:
            times = of_fast if kind in fast else of_slow
            values = times[kind]
            moved = num * (BYTES_HALF_STATE if kind == HALF_STATE else BYTES)
            rate = moved / statistics.median(values) / 1e9
            share = rate / statistics.median(limit_of_round)
            if loops and kind in fast:
                share = statistics.median(
                    moved / t / 1e9 / limit for t, limit in zip(values, limit_of_round, strict=True)
                )
            ratios = [t / r for t, r in zip(values, times[REFERENCE], strict=True)]
            rows.append(
                {
                    "list": name,
                    "path": kind,
                    "parameters": num,
                    "tensors": len(shapes),
                    "rounds": len(values),
                    "seconds": quartiles(values),
                    "ratio": quartiles(ratios),
                    "gigabytes_per_second": rate,
                    "share_of_limit": share,
                }
            )
    progress("subnormal moments")
    subnormals = {
        kind: _subnormals(KINDS[kind], seconds / 4, device)
        for kind in (FUSED, REFERENCE)
        if _is_there(kind, device)
    }
    result = {
        "environment": _environment(device),
        "quick": quick,
        "limit_gigabytes_per_second": limits,
    }
    return result | {"rows": rows, "subnormals": subnormals}


def _params(shapes: list[tuple[int, ...]], device: str) -> list[nn.Parameter]:
    """Return parameters with a gradient; all optimizers of a list share them, each has its own state."""
    generator = torch.Generator().manual_seed(0)
    params = [
        nn.Parameter((torch.randn(shape, generator=generator) * 0.02).to(device))
        for shape in shapes
    ]
    for p in params:
        p.grad = (torch.randn(p.shape, generator=generator) * 1e-3).to(device)
    return params


def _subnormals(make: Callable[..., Optimizer], seconds: float, device: str) -> list[float]:
    """Return the quartiles of the time on subnormal moments over that on normal ones; the gradient is zero, as an unused row's is."""
    param = _params([(1_000_000,)], device)[0]
    param.grad = torch.zeros_like(param)
    optimizer = make([param], lr=1e-6)
    times: dict[float, list[float]] = {1e-40: [], 1e-3: []}
    begin = time.monotonic()
    while not times[1e-3] or (time.monotonic() - begin < seconds and len(times[1e-3]) < 500):
        for value, record in times.items():
            optimizer.step()  # creates the state
            for key in ("exp_avg", "exp_avg_sq"):
                optimizer.state[param][key].fill_(value)
            record.append(clock(optimizer.step, device))
    return quartiles([a / b for a, b in zip(*times.values(), strict=True)])


def _is_there(kind: str, device: str) -> bool:
    return kind not in (FUSED, HALF_STATE) or fused_status(device=device).available


def _environment(device: str) -> dict[str, Any]:
    cpu = platform.processor() or platform.machine()
    if (info := Path("/proc/cpuinfo")).exists():
        cpu = next(
            (
                line.split(":", 1)[1].strip()
                for line in info.read_text().splitlines()
                if line.startswith("model name")
            ),
            cpu,
        )
    return {
        "dualadam": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": cpu,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "torch_instruction_set": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name() if device != "cpu" else "cpu",
        "load_average": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "fused": fused_status(device=device).reason,
    }


def table(record: dict[str, Any]) -> Table:
    """Return the record as a table for the terminal."""
    limits = ", ".join(
        f"{name} {median:.1f}"
        for name, (_, median, _) in record["limit_gigabytes_per_second"].items()
    )
    result = Table(title=f"Seconds a step; memory limit in GB/s: {limits}")
    for column in ("list", "path", "ms", "/ AdamW fused", "25 .. 75 %", "GB/s", "of limit"):
        result.add_column(
            column, justify="left" if column in ("list", "path") else "right", no_wrap=True
        )
    last = None
    for row in record["rows"]:
        low, median, high = row["ratio"]
        if last not in (None, row["list"]):
            result.add_section()
        result.add_row(
            row["list"] if row["list"] != last else "",
            row["path"],
            f"{row['seconds'][1] * 1e3:.2f}",
            f"{median:.2f}",
            f"{low:.2f} .. {high:.2f}",
            f"{row['gigabytes_per_second']:.1f}",
            f"{row['share_of_limit']:.0%}",
        )
        last = row["list"]
    return result


def plot(record: dict[str, Any], target: Path) -> None:
    """Draw the ratios to torch's fused AdamW, with their quartiles, one panel a list."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from dualadam.compare.figures import COLOURS, STYLE

    lists = list(dict.fromkeys(row["list"] for row in record["rows"]))
    with rc_context(STYLE):
        figure = Figure(figsize=(7.2, 5.2))
        panels = figure.subplots(2, 2).flat
        for axes, name in zip(panels, lists, strict=False):
            rows = [row for row in record["rows"] if row["list"] == name][::-1]
            for y, row in enumerate(rows):
                low, median, high = row["ratio"]
                colour = COLOURS[0] if row["path"].startswith("DualAdam") else COLOURS[6]
                axes.barh(y, median, color=colour, height=0.7)
                axes.errorbar(
                    median,
                    y,
                    xerr=[[median - low], [high - median]],
                    color="black",
                    capsize=2,
                    linewidth=1,
                )
                axes.text(high, y, f"  {median:.2f}", va="center", fontsize=9)
            axes.set_yticks(range(len(rows)), [row["path"] for row in rows], fontsize=9)
            axes.axvline(1, color="black", linewidth=0.8, linestyle="--")
            axes.set_xlim(0, max(row["ratio"][2] for row in rows) * 1.35)
            axes.set_title(f"{name} ({rows[0]['parameters'] / 1e6:.3g} M)", fontsize=9, loc="right")
            axes.grid(axis="y", visible=False)
        environment = record["environment"]
        figure.supxlabel(
            "time of a step / torch AdamW fused (median and quartiles of interleaved rounds)",
            fontsize=10,
        )
        load = (
            ""
            if environment["load_average"] is None
            else f", load average {environment['load_average']:.1f} before"
        )
        figure.suptitle(
            f"{environment['processor']}, {environment['threads']} threads, torch {environment['torch']}{load}",
            fontsize=10,
        )
        target.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(
            target, dpi=150, metadata={"Software": None} if target.suffix == ".png" else None
        )


def command(
    out: Path | None,
    quick: bool,
    device: str,
    compiled: bool,
    record: Path | None,
    figure: Path | None,
) -> None:
    """Measure and print, or draw a stored record; what the command line calls."""
    console = Console(width=None if Console().is_terminal else 120)
    if record is not None:
        result = json.loads(record.read_text())
    else:
        if device != "cpu" and not torch.cuda.is_available():
            raise ValueError(
                f"device must be cpu on this machine, got {device}: torch finds no CUDA device."
            )
        result = measure(
            quick,
            device,
            compiled,
            progress=lambda text: console.print(f"timing: {text}", highlight=False),
        )
        console.print(f"{fused_status(device=device)}", markup=False, highlight=False)
    console.print(table(result))
    for path, (_, ratio, _) in result["subnormals"].items():
        console.print(
            f"{path}: a step on subnormal moments takes {ratio:.2f} times one on normal moments.",
            highlight=False,
        )
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(result, indent=1) + "\n")
        console.print(f"Record: {out}", markup=False, highlight=False)
    if figure is not None:
        plot(result, figure)
        console.print(f"Figure: {figure}", markup=False, highlight=False)
