"""The command line: one file per command. Only this package prints."""

import sys

try:
    import typer  # noqa: F401
except ImportError:  # the optimizers need torch alone; the command line is an extra
    needs = "The command line needs the extra `bench`: pip install 'dualadam[bench]'"
    if "--help" not in sys.argv:
        sys.exit(needs)
    print("Usage: dualadam COMMAND\n\nCompare optimizers, and measure what they do.\n" + needs)
    sys.exit(0)

from dualadam.cli.app import app, main

__all__ = ["app", "main"]
