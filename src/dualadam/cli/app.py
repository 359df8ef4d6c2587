"""The command `dualadam`: its subcommands, and how errors and Ctrl-C end it."""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
import typer.core

from dualadam._version import __version__
from dualadam.cli.audit import audit
from dualadam.cli.compare import compare
from dualadam.cli.escape import escape
from dualadam.cli.escape_networks import escape_networks
from dualadam.cli.flatness import flatness
from dualadam.cli.list import list_names
from dualadam.cli.new import new
from dualadam.cli.report import report
from dualadam.cli.speed import speed
from dualadam.errors import DualAdamError

INTERRUPTED = 130  # the exit status of a shell command that SIGINT ended


class _Commands(typer.core.TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Run a subcommand, and end with a message and status 130 after Ctrl-C."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            print("\ndualadam: Stopped.", file=sys.stderr)
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    cls=_Commands,
    help="InvAdam and DualAdam: compare optimizers fairly, and measure what they do.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"dualadam {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    pass


app.command()(compare)
app.command()(new)
app.command()(report)
app.command()(audit)
app.command(name="list")(list_names)
app.command()(flatness)
app.command()(escape)
app.command()(escape_networks)
app.command()(speed)


def main(argv: list[str] | None = None) -> None:
    """Run the command line.

    Exit statuses: 0 for success, 1 for failed runs, 2 for bad input, 130 for Ctrl-C. What a user
    can correct is explained on stderr, and ``--debug`` shows its traceback. Any other exception is
    a bug and keeps its traceback.

    Args:
        argv: the arguments; None takes those of the process.
    """
    argv = sys.argv[1:] if argv is None else argv
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # a spec may name an optimizer class from this folder
    try:
        app(argv, prog_name="dualadam", standalone_mode=True)
    except DualAdamError as error:
        if "--debug" in argv:
            raise
        print(f"dualadam: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
