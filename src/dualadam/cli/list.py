"""`dualadam list`."""

from __future__ import annotations

import importlib.resources
import tomllib

NAMES = importlib.resources.files("dualadam.cli") / "names.toml"


def list_names() -> None:
    """List tasks, models, optimizers and built-in specs."""
    from rich.table import Table

    from dualadam.cli.console import stdout

    for title, rows in tomllib.loads(NAMES.read_text(encoding="utf-8")).items():
        table = Table(
            title=title, title_justify="left", show_header=False, box=None, padding=(0, 2)
        )
        for name, summary in rows.items():
            table.add_row(name, summary)
        stdout().print(table)
