"""Measuring the points of a plan: in worker processes, each result one line on disk, a second start continues."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import threading
import time
import warnings
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dualadam.diffusion.escape import EscapeWarning, escape_time_on
from dualadam.diffusion.quadrature import mean_first_passage_time
from dualadam.diffusion.simulate import simulate
from dualadam.studies.escape_landscapes.plan import Effort, Point, plan


def measure(point: Point, num_walkers: int, num_steps: int) -> dict[str, Any]:
    """Return everything known about a point: closed form, quadrature, simulation, as JSON-ready numbers (None for what does not exist)."""
    started = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", EscapeWarning
        )  # they are in `broken`, and the tables show them
        closed: dict[str, Any] = {}
        if (np.asarray(point.noise.variance(point.landscape.saddle)) > 0).all():
            for name, options in (
                ("theory", {"betas": point.betas}),
                ("overdamped", {}),
                ("paper", {"prefactor": "paper"}),
            ):
                value = escape_time_on(
                    point.landscape, point.noise, point.rule, point.lr, **options
                )
                closed |= {name: value.log_time}
                if name == "theory":
                    closed |= {"exponent": value.exponent, "broken": list(value.broken)}
    for name, frozen in (("exact", False), ("exact_frozen", True)):
        exact = (
            mean_first_passage_time(
                point.landscape, point.noise, point.rule, point.lr, frozen=frozen
            )
            if point.landscape.dim == 1
            else None
        )
        closed[name] = exact if exact is None or math.isfinite(exact) else "inf"
    seen, diverged = None, None
    size: dict[str, Any] = {"num_walkers": num_walkers, "num_steps": num_steps, "seed": point.seed}
    try:
        seen = simulate(
            point.landscape, point.noise, point.rule, point.lr, betas=point.betas, **size
        )
    except RuntimeError as error:  # walkers that diverge are a result, not a missing row
        diverged = str(error)
    return {
        "key": point.key,
        "x": point.x,
        "lr": point.lr,
        "betas": list(point.betas),
        **closed,
        "simulated": seen.log_time if seen and seen.num_escapes else None,
        "error": seen.log_time_error if seen and seen.num_escapes else None,
        "num_escapes": seen.num_escapes if seen else None,
        "diverged": diverged,
        **size,
        "seconds": round(time.perf_counter() - started, 2),
    }


def measure_all(
    effort: Effort, path: Path, num_workers: int | None = None
) -> dict[str, dict[str, Any]]:
    """Measure what the file does not hold yet, longest points first, and return all results by key.

    Args:
        effort: FULL or QUICK.
        path: a JSON-lines file; every finished point is appended to it.
        num_workers: processes of one thread each; None for one per core.

    Raises:
        ValueError: the file holds a point of another plan, or one measured at another size.
    """
    points = plan(effort)
    sizes = {p.key: p.size(effort.num_escapes, effort.shortest) for p in points}
    done: dict[str, dict[str, Any]] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        result = json.loads(line)
        if sizes.get(result["key"]) != (result["num_walkers"], result["num_steps"]):
            raise ValueError(
                f"{path} must belong to this plan, but it holds {result['key']} at another size; choose another --out or delete it."
            )
        done[result["key"]] = result
    left = sorted((p for p in points if p.key not in done), key=lambda p: -math.prod(sizes[p.key]))
    columns = (
        TextColumn("escape times"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    context = multiprocessing.get_context("spawn")  # a forked torch can hang in its thread pool
    with (
        Progress(*columns) as progress,
        ProcessPoolExecutor(num_workers or os.cpu_count(), context, _start_worker) as pool,
        path.open("a") as file,
    ):
        bar = progress.add_task("", total=len(points), completed=len(done))
        for future in as_completed([pool.submit(measure, p, *sizes[p.key]) for p in left]):
            result = future.result()
            file.write(json.dumps(result) + "\n")
            file.flush()
            done[result["key"]] = result
            progress.update(bar, advance=1, description=result["key"])
    return {p.key: done[p.key] for p in points}


def _start_worker() -> None:
    """One thread of arithmetic, and an end together with the process that started it, however that ends."""
    torch.set_num_threads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def follow() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
