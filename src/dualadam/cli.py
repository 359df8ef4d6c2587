"""The command line: subcommands of a few lines, each ending in one call."""

from __future__ import annotations

import sys
from typing import Annotated

try:
    import typer
except ImportError:  # the optimizers need torch alone; the command line is an extra
    sys.exit("The command line needs the extra `bench`: pip install 'dualadam[bench]'")

from dualadam._version import __version__

app = typer.Typer(
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
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    pass


def main(argv: list[str] | None = None) -> None:
    """Run the command line: a sentence and exit status 2 for bad input, 1 for failed runs, 130 for an interrupt."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        app(argv, prog_name="dualadam", standalone_mode=True)
    except (ValueError, TypeError, OSError, ImportError) as error:
        if "--debug" in argv:
            raise
        print(f"dualadam: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
