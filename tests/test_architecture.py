"""Imports only go down, and importing the package costs what importing torch costs."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import dualadam

SOURCE = Path(dualadam.__file__).parent
# What each room of the house may import from the others; a room that is not listed may import nothing.
MAY_IMPORT = {
    "_version": set(),
    "errors": set(),
    "optim": set(),
    "flatness": {"errors"},
    "diffusion": {"optim", "errors", "_version"},
    "harness": {"errors", "_version"},
    "tasks": {"harness", "errors"},
    "compare": {"tasks", "harness", "flatness", "optim", "errors", "_version"},
    "studies": {"tasks", "harness", "diffusion", "flatness", "optim", "errors", "_version"},
    "cli": {
        "compare",
        "studies",
        "tasks",
        "harness",
        "diffusion",
        "flatness",
        "optim",
        "errors",
        "_version",
    },
    "__main__": {"cli"},
    "__init__": {"optim", "_version"},
}
PUBLIC_ROOT = {
    "DualAdam": "optim",
    "InvAdam": "optim",
    "decay_groups": "optim",
    "diagnose": "optim",
    "fused_status": "optim",
    "switch_rate_for": "optim",
}
FILES = sorted(SOURCE.rglob("*.py"))


def room(file: Path) -> str:
    return file.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_rooms(source: str) -> set[str]:
    """Return the rooms that a file imports, wherever in the file and however written."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    inside = {name.split(".")[1] for name in names if name.startswith("dualadam.")}
    return {PUBLIC_ROOT.get(name, "_version" if name == "__version__" else name) for name in inside}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(SOURCE)))
def test_imports_only_go_down(file: Path):
    assert imported_rooms(file.read_text()) - {room(file)} <= MAY_IMPORT.get(room(file), set())


@pytest.mark.parametrize(
    "line",
    [
        "import dualadam.compare.spec",
        "from dualadam.compare import spec",
        "from dualadam import compare",
    ],
)
def test_an_import_that_goes_up_would_be_seen(line: str):
    assert imported_rooms(f"def f():\n    {line}") == {"compare"}


def test_importing_dualadam_adds_only_its_own_modules_to_what_torch_loads_and_of_these_only_the_optimizers():
    code = "import sys, torch; before = set(sys.modules); import dualadam; print(*sorted(set(sys.modules) - before))"
    environment = {"PYTHONPATH": str(SOURCE.parent)}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    added = run.stdout.split()
    assert {name.split(".")[0] for name in added} == {"dualadam"}
    assert {name.split(".")[1] for name in added if "." in name} == {"_version", "optim"}


def test_the_public_names_are_these():
    names = {
        "DualAdam",
        "InvAdam",
        "__version__",
        "decay_groups",
        "diagnose",
        "fused_status",
        "switch_rate_for",
    }
    assert set(dualadam.__all__) == names
    assert all(getattr(dualadam, name).__doc__ for name in names)


def test_every_dependency_has_its_reason():
    root = SOURCE.parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = [
        line
        for extra in project["optional-dependencies"].values()
        for line in extra
        if not line.startswith("dualadam[")
    ]
    rows = [
        line
        for line in (root / "docs/decisions/0009-dependencies.md").read_text().splitlines()
        if line.startswith("| ")
    ]
    reasons = {name for row in rows for name in row.split("|")[1].strip().split(", ")}
    assert {re.split("[>=<[]", line)[0] for line in extras} <= reasons
    assert project["dependencies"] == ["torch>=2.10"]
