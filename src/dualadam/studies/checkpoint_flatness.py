"""The command ``dualadam flatness``: measure a saved model on its task's training data, print a table, draw the spectrum."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from torch import Tensor, nn

from dualadam.compare.figures import COLOURS, STYLE, WIDTH, Plot
from dualadam.flatness import (
    MeanLoss,
    SpectralDensity,
    TopEigenvalues,
    TraceEstimate,
    sam_sharpness,
    spectral_density,
    top_eigenvalues,
    trace,
)
from dualadam.tasks import TASKS, FineTuning, check_device, get_task


@dataclass(frozen=True)
class Settings:
    """What decides the numbers beside model and data."""

    k: int = 5
    rho: float = 0.05
    adaptive_rho: float = 0.5
    num_steps: int = 40
    num_samples: int = 3
    max_samples: int = 200
    seed: int = 0


@dataclass(frozen=True)
class Flatness:
    """Every measure of one model; each in the unit of the loss, the gradient's norm per unit of the weights."""

    loss: float
    gradient_norm: float
    top: TopEigenvalues
    trace: TraceEstimate
    density: SpectralDensity
    sharpness: float
    adaptive_sharpness: float
    num_params: int
    num_examples: int  # or tokens, of which the loss is a mean


def flatness(
    checkpoint: Path,
    *,
    task: str | None,
    model: str | None,
    data: str | None,
    device: str,
    examples: int,
    batch_size: int,
    float64: bool,
    settings: Settings,
    out: Path | None,
) -> None:
    """Measure a checkpoint, print the table, and write the figure and the numbers beside it."""
    console = Console()
    if not console.is_terminal:  # no terminal to fold lines for
        console.width = max(120, console.width)
    task_name, model_name, weights, language = load_checkpoint(checkpoint, task, model)
    check_device(device)
    available = (
        TASKS[task_name].num_train
        or get_task(task_name, data=data, device=device, language=language).num_train
    )
    subset = examples if examples and examples < available else None
    loaded = get_task(task_name, data=data, subset=subset, device=device, language=language)
    network = loaded.make_model(model_name)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:  # its sentence lists every key
        reason = str(error).splitlines()[1].strip()
        raise ValueError(
            f"{checkpoint} must fit the model {model_name!r} of {task_name!r}, got: {reason}"
        ) from error
    batch_size = min(batch_size, loaded.num_train)
    batches = list(
        loaded.batches(batch_size, torch.Generator().manual_seed(settings.seed), augment=False)
    )
    dtype = torch.float64 if float64 else None
    with _bar(console) as bar:
        result = measure(
            network,
            loaded.loss,
            batches,
            settings,
            dtype=dtype,
            num_examples=loaded.weight,
            bar=bar,
        )
    title = f"{checkpoint.name}: {model_name} on {batch_size * len(batches):,} training examples of {task_name}"
    console.print(as_table(result, settings, title))
    figure = (out or checkpoint).with_suffix(
        ".flatness.png" if out is None else out.suffix or ".png"
    )
    figure.parent.mkdir(parents=True, exist_ok=True)
    figure.write_bytes(draw(result).png())
    figure.with_suffix(".json").write_text(
        json.dumps({**_plain(result), "settings": asdict(settings)}, indent=1) + "\n"
    )
    console.print(
        f"Figure: {figure}; numbers: {figure.with_suffix('.json')}",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )


def load_checkpoint(
    path: Path, task: str | None, model: str | None
) -> tuple[str, str, dict[str, Tensor], FineTuning | None]:
    """Return task, model name, state_dict and how a language model was trained, of a file saved by torch.save; nothing in it is executed.

    The file holds a dict with ``state_dict`` and maybe ``task``, ``model`` and ``language`` (as in a spec; else its defaults), or a bare
    state_dict; task and model must be given where it does not say them.

    Raises:
        ValueError: the file holds something else, or says something else than the arguments; a name is missing or unknown.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(
            f"{path} must hold tensors and plain values saved by torch.save, and nothing else; it does not load."
        ) from error
    if not isinstance(content, dict):
        raise ValueError(
            f"{path} must hold a state_dict, or a dict with the key 'state_dict', got {type(content).__name__}."
        )
    weights = content.get("state_dict", content)
    if (
        not isinstance(weights, dict)
        or not weights
        or not all(isinstance(value, Tensor) for value in weights.values())
    ):
        keys = ", ".join(map(str, content)) or "none"
        raise ValueError(
            f"{path} must hold a state_dict, or a dict with the key 'state_dict', got the keys: {keys}."
        )
    names: dict[str, Any] = {}
    for key, given in (("task", task), ("model", model)):
        saved = content.get(key) if weights is not content else None
        if saved and given and saved != given:
            raise ValueError(f"--{key} must be {saved!r}, as the checkpoint says, got {given!r}.")
        if not (saved or given):
            raise ValueError(f"--{key} must be given: the checkpoint does not name its {key}.")
        names[key] = saved or given
    if names["task"] not in TASKS:
        raise ValueError(f"--task must be one of {', '.join(TASKS)}, got {names['task']!r}.")
    entry = TASKS[names["task"]]
    if not entry.takes(names["model"]):
        raise ValueError(
            f"--model must be one of {', '.join(entry.models)} for {names['task']}, got {names['model']!r}."
        )
    if entry.language is None:
        return names["task"], names["model"], weights, None
    settings: dict[str, Any] = content.get("language") or {} if weights is not content else {}
    try:
        return (
            names["task"],
            names["model"],
            weights,
            FineTuning(**{"model": names["model"], **settings}),
        )
    except TypeError as error:
        raise ValueError(
            f"{path} must hold under 'language' what a spec has there, got {settings!r}."
        ) from error


def measure(
    model: nn.Module,
    loss_fn: Callable[[Any, Any], Tensor],
    batches: Sequence[Any],
    settings: Settings | None = None,
    *,
    dtype: torch.dtype | None = None,
    num_examples: Callable[[Any], int] | None = None,
    bar: Progress | None = None,
) -> Flatness:
    """Take every measure of a model; ``bar`` shows each of them, counted in passes over the data.

    Example:
        >>> import torch
        >>> x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
        >>> result = measure(torch.nn.Linear(3, 1), lambda model, batch: model(batch).square().mean() / 2, [x[:40], x[40:]])
        >>> exact = x.square().sum().item() / 64 + 1  # the trace of the second moment of (x, 1)
        >>> result.num_params, result.num_examples, bool(abs(result.top.values.sum() - exact) < 1e-4)  # all four eigenvalues
        (4, 64, True)
    """
    s = settings or Settings()
    watched = _Watched(batches, bar)
    watched.start("Loss and gradient", 4)
    loss = MeanLoss(model, loss_fn, watched, dtype=dtype, num_examples=num_examples)
    count = sum(map(loss.num_examples, batches))
    s = replace(s, k=min(s.k, loss.num_params))
    value, gradient_norm = loss.value(), torch.linalg.vector_norm(loss.gradient()).item()
    watched.start("Sharpness", 6)
    sharpness, adaptive = (
        sam_sharpness(loss, s.rho),
        sam_sharpness(loss, s.adaptive_rho, adaptive=True),
    )
    watched.start("Top eigenvalues", None)
    top = top_eigenvalues(loss, s.k, generator=torch.Generator().manual_seed(s.seed))
    watched.start("Trace", s.max_samples)
    estimate = trace(
        loss, max_samples=s.max_samples, generator=torch.Generator().manual_seed(s.seed + 1)
    )
    watched.start("Spectral density", s.num_samples * s.num_steps)
    density = spectral_density(
        loss,
        num_steps=s.num_steps,
        num_samples=s.num_samples,
        generator=torch.Generator().manual_seed(s.seed + 2),
    )
    watched.finish()
    return Flatness(
        value, gradient_norm, top, estimate, density, sharpness, adaptive, loss.num_params, count
    )


def as_table(result: Flatness, settings: Settings, title: str) -> Table:
    """Return the numbers with their uncertainty."""
    table = Table(title=title, title_justify="left")
    table.add_column("Measure")
    table.add_column("Value", justify="right")
    table.add_column("How certain", overflow="fold")
    t = result.trace
    table.add_row("loss", f"{result.loss:.4g}", "")
    table.add_row(
        "gradient norm",
        f"{result.gradient_norm:.4g}",
        "0 at a minimum; the spectrum describes one only there",
    )
    for i, (value, residual) in enumerate(
        zip(result.top.values, result.top.residuals, strict=True), start=1
    ):
        table.add_row(f"eigenvalue {i}", f"{value:.4g}", f"± {residual:.1g} (residual)")
    table.add_row(
        "lowest eigenvalue", f"{result.density.nodes.min():.2g}", "an upper bound, from the density"
    )
    stopped = "" if t.converged else f"; not yet 5 % of it after {t.num_samples}"
    table.add_row(
        "trace",
        f"{t.value:.4g}",
        f"± {t.standard_error:.1g} (standard error, {t.num_samples} samples{stopped})",
    )
    table.add_row(
        f"SAM sharpness, rho {settings.rho:g}",
        f"{result.sharpness:.4g}",
        "a lower bound: the maximum to first order",
    )
    table.add_row(
        f"adaptive sharpness, rho {settings.adaptive_rho:g}",
        f"{result.adaptive_sharpness:.4g}",
        "the same; blind to rescaling",
    )
    return table


def draw(result: Flatness) -> Plot:
    """Draw the spectral density on a logarithmic axis, down to a third of what a single eigenvalue makes."""
    density = result.density
    single = 1 / (result.num_params * density.sigma * math.sqrt(2 * math.pi))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 3.6))
        ax = figure.subplots()
        ax.fill_between(
            density.grid,
            np.maximum(density.density, single / 3),
            single / 3,
            color=COLOURS[0],
            alpha=0.25,
            lw=0,
        )
        ax.plot(
            density.grid,
            np.maximum(density.density, single / 3),
            color=COLOURS[0],
            lw=1.6,
            label="density",
        )
        ax.axhline(single, color="black", lw=0.8, ls="--", label="height of one eigenvalue")
        ax.plot(
            result.top.values,
            [single] * len(result.top.values),
            "v",
            ms=6,
            color=COLOURS[1],
            label="top eigenvalues (Lanczos)",
        )
        ax.set_yscale("log")
        ax.set_ylim(single / 3, 3 * density.density.max())
        ax.set_xlabel("eigenvalue of the Hessian")
        ax.set_ylabel("density")
        ax.legend(fontsize=9, frameon=False)
    caption = f"Spectral density of the Hessian: all {result.num_params:,} eigenvalues, smoothed by {density.sigma:.2g}."
    return Plot("spectrum", caption, figure)


class _Watched:
    """Batches that tell a progress bar about each pass over them."""

    def __init__(self, batches: Sequence[Any], bar: Progress | None) -> None:
        self.batches, self.bar = batches, bar
        self.stage: TaskID | None = None

    def start(self, description: str, total: int | None) -> None:
        """Begin a stage of at most so many passes."""
        self.finish()
        self.stage = self.bar.add_task(description, total=total) if self.bar else None

    def finish(self) -> None:
        """Show the present stage as done."""
        if self.bar and self.stage is not None:
            passes = self.bar.tasks[self.stage].completed
            self.bar.update(self.stage, total=passes)

    def __iter__(self) -> Iterator[Any]:
        yield from self.batches
        if self.bar and self.stage is not None:
            self.bar.advance(self.stage)


def _bar(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description:<18}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("passes"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _plain(result: Flatness) -> dict[str, Any]:
    """Return the numbers without the eigenvectors, ready for JSON."""

    def with_lists(items: list[tuple[str, Any]]) -> dict[str, Any]:
        return {
            key: value.tolist() if isinstance(value, np.ndarray) else value
            for key, value in items
            if key != "vectors"
        }

    return asdict(result, dict_factory=with_lists)
