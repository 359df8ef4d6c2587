"""What starts the command line: `--help` and `list` answer without torch."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest
from compare_cases import environment

from dualadam.cli.list import NAMES
from dualadam.compare.optimizers import OPTIMIZERS
from dualadam.compare.spec_file import builtin_specs, load_spec
from dualadam.tasks import TASKS, TaskEntry

HEAVY = {"torch", "numpy", "scipy", "matplotlib", "jinja2", "sklearn", "cloudpickle"}
QUICK = (
    [["--help"], ["--version"], ["list"]]
    + [[name, "--help"] for name in ("compare", "new", "report", "flatness", "speed")]
    + [["new", "my.toml"]]
)


def line(entry: TaskEntry) -> str:
    names = f"{entry.summary}; models: {', '.join(entry.models)}"
    if not entry.language:
        return names
    return f"{names}, a folder or a name on the hub; metrics: {', '.join(entry.metrics)}"


def test_the_file_of_names_holds_every_task_optimizer_and_spec():
    assert tomllib.loads(NAMES.read_text(encoding="utf-8")) == {
        "Tasks": {name: line(entry) for name, entry in TASKS.items()},
        "Optimizers": {name: entry.summary for name, entry in OPTIMIZERS.items()},
        "Built-in specs": {name: load_spec(name).title for name in builtin_specs()},
    }


@pytest.mark.parametrize("arguments", QUICK, ids=" ".join)
def test_a_command_that_trains_nothing_imports_nothing_heavy(tmp_path, arguments):
    code = (
        "import sys\n"
        "from dualadam.cli import main\n"
        "try:\n"
        f"    main({arguments!r})\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        "print('', *sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = {name.split(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert loaded & HEAVY == set()
    assert {"dualadam", "typer"} <= loaded
