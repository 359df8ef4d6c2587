"""`dualadam list`."""

from __future__ import annotations


def list_names() -> None:
    """List tasks, models, optimizers and built-in specs."""
    from rich.table import Table

    from dualadam.cli.console import stdout
    from dualadam.compare.optimizers import OPTIMIZERS
    from dualadam.compare.spec_file import builtin_specs, load_spec
    from dualadam.tasks import TASKS, TaskEntry

    def models(entry: TaskEntry) -> str:
        names = f"{entry.summary}; models: {', '.join(entry.models)}"
        if not entry.language:
            return names
        return f"{names}, a folder or a name on the hub; metrics: {', '.join(entry.metrics)}"

    sections = {
        "Tasks": {name: models(entry) for name, entry in TASKS.items()},
        "Optimizers": {name: entry.summary for name, entry in OPTIMIZERS.items()},
        "Built-in specs": {name: load_spec(name).title for name in builtin_specs()},
    }
    for title, rows in sections.items():
        table = Table(
            title=title, title_justify="left", show_header=False, box=None, padding=(0, 2)
        )
        for name, summary in rows.items():
            table.add_row(name, summary)
        stdout().print(table)
