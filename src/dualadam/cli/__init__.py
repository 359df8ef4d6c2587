"""The command line: subcommands of a few lines, each ending in one call."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

try:
    import typer
    import typer.core
except ImportError:  # the optimizers need torch alone; the command line is an extra
    sys.exit("The command line needs the extra `bench`: pip install 'dualadam[bench]'")

from dualadam._version import __version__


class _Commands(typer.core.TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Run a subcommand; Ctrl-C ends it with a sentence, wherever it strikes."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("\ndualadam: Stopped.", file=sys.stderr)
            raise typer.Exit(130) from None


app = typer.Typer(
    cls=_Commands,
    help="InvAdam and DualAdam: compare optimizers fairly, and measure what they do.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"dualadam {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    pass


Data = Annotated[
    str | None,
    typer.Option("--data", envvar="DUALADAM_DATA", help="Folder that holds the data sets."),
]


@app.command()
def compare(
    spec: Annotated[
        str, typer.Argument(help="A TOML file, or the name of a built-in spec.")
    ] = "digits",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            help="Output folder; a second start goes on from what is in it. [default: runs/NAME]",
        ),
    ] = None,
    data: Data = None,
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            min=0,
            help="Runs side by side, one thread each; 0: one per core, on a GPU one.",
        ),
    ] = 0,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, ...")] = "cpu",
    cluster: Annotated[
        str | None,
        typer.Option("--cluster", help="A Dask scheduler, tcp://HOST:PORT, instead of --workers."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the plan and stop; needs no data.")
    ] = False,
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate", help="Time a step of every arm, say how long it will take, and stop."
        ),
    ] = False,
    smoke: Annotated[
        bool,
        typer.Option(
            "--smoke", help="Two steps of the arms compared: do they run? Into runs/NAME-smoke."
        ),
    ] = False,
) -> None:
    """Compare optimizers as a spec says: tune with equal budgets, judge on paired seeds, report."""
    from dualadam.cli import compare as commands

    commands.compare(
        spec,
        out,
        data=data,
        workers=workers,
        cluster=cluster,
        device=device,
        dry_run=dry_run,
        estimate=estimate,
        smoke=smoke,
    )


@app.command()
def report(
    folder: Annotated[Path, typer.Argument(help="The output folder of a finished comparison.")],
) -> None:
    """Draw the report of a comparison again, from disk alone."""
    from dualadam.cli import compare as commands

    commands.report(folder)


@app.command()
def escape(
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Fewer points: two minutes on two cores instead of up to thirty."
        ),
    ] = False,
    out: Annotated[
        Path,
        typer.Option("--out", help="Output folder; a second start goes on from what is in it."),
    ] = Path("runs/escape"),
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes of one thread each; 0: one per core.")
    ] = 0,
) -> None:
    """Measure escape times from minima with the shipped optimizers, beside theory and exact quadrature, failures included."""
    from dualadam.studies.escape_landscapes.plan import FULL, QUICK
    from dualadam.studies.escape_landscapes.report import escape_tables, summary

    print(summary(escape_tables(out, QUICK if quick else FULL, num_workers=workers or None), out))


@app.command()
def escape_networks(
    quick: Annotated[
        bool,
        typer.Option(
            "--quick", help="Fewer minima and shorter lives: minutes instead of up to an hour."
        ),
    ] = False,
    out: Annotated[
        Path,
        typer.Option("--out", help="Output folder; a second start goes on from what is in it."),
    ] = Path("runs/escape-networks"),
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes of one thread each.")
    ] = 2,
) -> None:
    """Measure escape times from the minima of a small network on digits, and whether its gradient noise is Hessian over batch size."""
    from dualadam.studies.escape_networks import report

    report.command(out, quick, workers)


@app.command()
def speed(
    out: Annotated[Path | None, typer.Option("--out", help="Store the record here (JSON).")] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Under a minute, with a smaller large tensor.")
    ] = False,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    compiled: Annotated[
        bool, typer.Option("--compiled", help="Also the fused step inside torch.compile.")
    ] = False,
    record: Annotated[
        Path | None, typer.Option("--record", help="Measure nothing; show this stored record.")
    ] = None,
    figure: Annotated[
        Path | None, typer.Option("--figure", help="Draw the ratios to this file (.png, .svg).")
    ] = None,
) -> None:
    """Time a step: all paths of DualAdam and of torch's AdamW, and the memory's limit."""
    from dualadam.studies import speed as speed_of

    speed_of.command(out, quick, device, compiled, record, figure)


@app.command(name="list")
def list_() -> None:
    """List tasks, models, optimizers and built-in specs."""
    from dualadam.cli import compare as commands

    commands.list_everything()


@app.command()
def flatness(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            help="A file saved by torch.save: a state_dict, or {task, model, state_dict}."
        ),
    ],
    task: Annotated[
        str | None,
        typer.Option("--task", help="What the model was trained on, if the file does not say it."),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", help="Which model it is, if the file does not say it.")
    ] = None,
    data: Data = None,
    examples: Annotated[
        int, typer.Option("--examples", min=0, help="Training examples to measure on; 0: all.")
    ] = 1000,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Changes memory and speed only.")
    ] = 250,
    k: Annotated[int, typer.Option("--k", min=1, help="How many of the largest eigenvalues.")] = 5,
    rho: Annotated[float, typer.Option("--rho", help="Radius of SAM's sharpness.")] = 0.05,
    adaptive_rho: Annotated[
        float, typer.Option("--adaptive-rho", help="Radius of the adaptive one.")
    ] = 0.5,
    seed: Annotated[int, typer.Option("--seed", help="Of the random vectors.")] = 0,
    float64: Annotated[
        bool, typer.Option("--float64", help="Measure in double precision.")
    ] = False,
    device: Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, ...")] = "cpu",
    out: Annotated[
        Path | None, typer.Option("--out", help="The figure. [default: CHECKPOINT.flatness.png]")
    ] = None,
) -> None:
    """Measure how flat the minimum is that a saved model lies in: eigenvalues, trace, spectral density, sharpness."""
    from dualadam.studies import checkpoint_flatness as report

    report.flatness(
        checkpoint, task=task, model=model, data=data, device=device, examples=examples, batch_size=batch_size, float64=float64,
        settings=report.Settings(k=k, rho=rho, adaptive_rho=adaptive_rho, seed=seed), out=out,
    )  # fmt: skip


def main(argv: list[str] | None = None) -> None:
    """Run the command line: a sentence and exit status 2 for bad input, 1 for failed runs, 130 for an interrupt."""
    argv = sys.argv[1:] if argv is None else argv
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # where an arm's class of the user's own may be
    try:
        app(argv, prog_name="dualadam", standalone_mode=True)
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:
        if "--debug" in argv:
            raise
        print(f"dualadam: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, RuntimeError) else 2)


if __name__ == "__main__":
    main()
