"""`dualadam flatness`."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dualadam.cli.console import DataOption, DeviceOption, check_figure_type, stdout

if TYPE_CHECKING:
    from rich.table import Table

    from dualadam.flatness import TraceEstimate
    from dualadam.studies.checkpoint_flatness import (
        CheckpointFlatness,
        FlatnessMeasures,
        FlatnessSettings,
    )


def flatness(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="A file saved by torch.save: a state_dict, or {task, model, state_dict}, "
            "with {optimizer, optimizer_state_dict} for the preconditioned sharpness."
        ),
    ],
    task: Annotated[
        str | None,
        typer.Option("--task", help="The task of the model, if the file does not name it."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="The model, if the file does not name it.")
    ] = None,
    data: DataOption = None,
    examples: Annotated[
        int, typer.Option("--examples", min=0, help="Training examples to measure on; 0: all.")
    ] = 1000,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Changes memory and speed only.")
    ] = 250,
    k: Annotated[
        int, typer.Option("--k", min=1, help="The number of largest eigenvalues to compute.")
    ] = 5,
    rho: Annotated[float, typer.Option("--rho", help="Radius of SAM's sharpness.")] = 0.05,
    adaptive_rho: Annotated[
        float, typer.Option("--adaptive-rho", help="Radius of the adaptive sharpness.")
    ] = 0.5,
    sam_steps: Annotated[
        int, typer.Option("--sam-steps", min=2, help="Steps uphill of the highest sharpness.")
    ] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random vectors.")] = 0,
    float64: Annotated[
        bool, typer.Option("--float64", help="Measure in double precision.")
    ] = False,
    device: DeviceOption = "cpu",
    out: Annotated[
        Path | None, typer.Option("--out", help="The figure. [default: CHECKPOINT.flatness.png]")
    ] = None,
) -> None:
    """Measure the flatness of a saved model.

    The measures are the largest eigenvalues, the trace and the spectral density of the Hessian, the
    sharpness, and the loss along random directions. With the optimizer's state in the file, the
    sharpness that the optimizer sees is printed beside its edge of stability.
    """
    import torch

    from dualadam.harness.progress import ConsoleProgress
    from dualadam.harness.store import check_output_file, write_whole, writing
    from dualadam.studies import checkpoint_flatness as study

    figure = _figure_path(checkpoint, out)
    loaded = study.load_checkpoint(checkpoint, task, model)
    check_output_file(figure)
    settings = study.FlatnessSettings(
        k=k, rho=rho, adaptive_rho=adaptive_rho, sharpness_steps=sam_steps, seed=seed
    )
    console = stdout()
    with ConsoleProgress(console, unit="measures") as progress:
        found = study.measure_checkpoint(
            loaded,
            settings,
            data=data,
            device=device,
            examples=examples or None,
            batch_size=batch_size,
            dtype=torch.float64 if float64 else None,
            progress=progress,
        )
    console.print(_table(found, settings))
    with writing(figure):
        study.draw_spectrum(found.measures).savefig(figure, dpi=160)
    slices = figure.with_stem(f"{figure.stem}.directions")
    with writing(slices):
        study.draw_slices(found.measures.slices).savefig(slices, dpi=160)
    numbers = found.measures.to_json() | {"settings": asdict(settings)}
    write_whole(figure.with_suffix(".json"), json.dumps(numbers, indent=1) + "\n")
    numbers_file = figure.with_suffix(".json")
    console.print(f"Figures: {figure}, {slices}; numbers: {numbers_file}", soft_wrap=True)


def _figure_path(checkpoint: Path, out: Path | None) -> Path:
    if out is None:
        return checkpoint.with_suffix(".flatness.png")
    path = out if out.suffix else out.with_suffix(".png")
    check_figure_type("--out", path)
    return path


def _table(found: CheckpointFlatness, settings: FlatnessSettings) -> Table:
    from rich.table import Table

    """Return the numbers with their uncertainty."""
    checkpoint, measures = found.checkpoint, found.measures
    title = (
        f"{checkpoint.path.name}: {checkpoint.model} on {found.num_examples:,} training examples "
        f"of {checkpoint.task}"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("Measure")
    table.add_column("Value", justify="right")
    table.add_column("Uncertainty", overflow="fold")
    table.add_row("loss", f"{measures.loss:.4g}", "")
    near_minimum = "0 at a minimum; only there does the spectrum describe one"
    table.add_row("gradient norm", f"{measures.gradient_norm:.4g}", near_minimum)
    eigenvalues = zip(measures.top.values, measures.top.residuals, strict=True)
    for i, (value, residual) in enumerate(eigenvalues, start=1):
        table.add_row(f"eigenvalue {i}", f"{value:.4g}", f"± {residual:.1g} (residual)")
    lowest = measures.density.nodes.min()
    table.add_row("lowest eigenvalue", f"{lowest:.2g}", "an upper bound, from the density")
    trace = measures.trace
    table.add_row("trace", f"{trace.value:.4g}", _error(trace))
    implied = measures.density.trace
    bound = (
        f"± {implied.standard_error:.1g} at most (standard error, {implied.num_samples} vectors)"
    )
    table.add_row("trace of the density", f"{implied.value:.4g}", bound)
    if measures.relative is not None:
        error = f"{_error(measures.relative)}; invariant under rescaling of layers"
        table.add_row("relative flatness", f"{measures.relative.value:.4g}", error)
    _add_sharpness(table, measures, settings)
    seen = measures.preconditioned
    if seen is not None:
        ratio = f"{seen.ratio:.3g} of {seen.threshold:.4g}, where the optimizer is unstable"
        table.add_row("preconditioned sharpness", f"{seen.value:.4g}", ratio)
    return table


def _error(estimate: TraceEstimate) -> str:
    stopped = "" if estimate.converged else ", more than 5 % of the value"
    samples = f"standard error, {estimate.num_samples} samples{stopped}"
    return f"± {estimate.standard_error:.1g} ({samples})"


def _add_sharpness(table: Table, measures: FlatnessMeasures, settings: FlatnessSettings) -> None:
    steps, plain = settings.sharpness_steps, f"SAM sharpness, rho {settings.rho:g}"
    adaptive = f"adaptive sharpness, rho {settings.adaptive_rho:g}"
    first, further = "a lower bound: one step", f"a lower bound: {steps} steps"
    blind = "; invariant under rescaling of the weights"
    table.add_row(plain, f"{measures.sharpness:.4g}", first)
    table.add_row(plain, f"{measures.highest_sharpness:.4g}", further)
    table.add_row(plain, f"{measures.batch_sharpness:.4g}", "one step, mean over the batches")
    table.add_row(adaptive, f"{measures.adaptive_sharpness:.4g}", first + blind)
    table.add_row(adaptive, f"{measures.highest_adaptive_sharpness:.4g}", further + blind)
