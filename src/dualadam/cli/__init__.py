"""The command line: one file per command. Only this package prints."""

import sys

try:
    import typer  # noqa: F401
except ImportError:  # the optimizers need torch alone; the command line is an extra
    sys.exit("The command line needs the extra `bench`: pip install 'dualadam[bench]'")

from dualadam.cli.app import app, main

__all__ = ["app", "main"]
