"""`dualadam flatness`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dualadam.cli.console import DataOption, DeviceOption


def flatness(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="A file saved by torch.save: a state_dict, or {task, model, state_dict}."
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

    The measures are the largest eigenvalues, the trace and the spectral density of the Hessian, and
    the sharpness.
    """
    from dualadam.studies import checkpoint_flatness as report

    report.flatness(
        checkpoint,
        task=task,
        model=model,
        data=data,
        device=device,
        examples=examples,
        batch_size=batch_size,
        float64=float64,
        settings=report.Settings(k=k, rho=rho, adaptive_rho=adaptive_rho, seed=seed),
        out=out,
    )
