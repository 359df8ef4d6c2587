"""Imports go down only, private names stay private, and ``import dualadam`` is cheap."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from source_imports import SOURCE, module_name, references

import dualadam

TESTS = Path(__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
TEST_FILES = sorted(TESTS.rglob("*.py"))

# room -> the rooms that it may import; errors and _version are below all rooms but optim
BASE = {"errors", "_version"}
LIBRARIES = {"tasks", "harness", "diffusion", "flatness"}
MAY_IMPORT = {
    "_version": set(),
    "errors": set(),
    "optim": set(),
    "flatness": {"optim", *BASE},
    "diffusion": {"optim", *BASE},
    "harness": BASE,
    "tasks": {"optim", *BASE},
    "jax": BASE,
    "callbacks": {"optim", *BASE},
    "compare": {*LIBRARIES, "optim", *BASE},
    "studies": {*LIBRARIES, "optim", *BASE},
    "cli": {"compare", "studies", *LIBRARIES, "optim", *BASE},
    "__main__": {"cli"},
    "__init__": {"optim", "_version"},
}

# (files, modules that their functions may import): reason
LOCAL_IMPORTS = {
    ("cli/", "dualadam."): "a command loads what it runs, so that --help is fast",
    ("compare/measures.py", "dualadam.flatness."): "needs SciPy, which training does not",
    ("optim/_kernels/triton.py", "dualadam.optim._kernels.triton_code"): "needs Triton",
}


def relative(file: Path) -> str:
    return file.relative_to(TESTS if file.is_relative_to(TESTS) else SOURCE).as_posix()


def room_of(file: Path) -> str:
    return relative(file).split("/")[0].removesuffix(".py")


def imported_rooms(source: str) -> set[str]:
    """Return the rooms that a source text refers to, wherever it does and however it is written."""
    rooms = {reference.room for reference in references(source)}
    public = {name: getattr(dualadam, name).__module__.split(".")[1] for name in public_names()}
    return {public.get(room, "_version" if room == "__version__" else room) for room in rooms}


def public_names() -> list[str]:
    return [name for name in dualadam.__all__ if name != "__version__"]


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_imports_only_go_down(file: Path):
    room = room_of(file)
    up = imported_rooms(file.read_text()) - {room} - MAY_IMPORT.get(room, set())
    assert up == set()


@pytest.mark.parametrize(
    "line",
    [
        "import dualadam.compare.spec",
        "import dualadam.compare",
        "from dualadam.compare import spec",
        "from dualadam import compare",
        "def f(): from dualadam.compare.spec import Spec",
        "import dualadam\ndualadam.compare.spec.Spec",
        'load("dualadam.compare.spec")',
    ],
)
def test_an_import_that_goes_up_would_be_seen(line: str):
    assert imported_rooms(line) == {"compare"}


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_no_module_uses_a_private_name_of_another_package(file: Path):
    module = module_name(file)
    for reference in references(file.read_text()):
        owner = reference.private_owner
        assert owner is None or f"{module}.".startswith(f"{owner}."), reference.name


@pytest.mark.parametrize("file", TEST_FILES, ids=relative)
def test_tests_use_private_names_of_their_own_room_alone(file: Path):
    private = {
        reference.name
        for reference in references(file.read_text())
        if reference.private_owner and reference.room != room_of(file)
    }
    examples = {"test_architecture.py"}  # the texts below
    assert not private or relative(file) in examples, private


@pytest.mark.parametrize(
    ("text", "owner"),
    [
        ("import dualadam.optim._step.loop", "dualadam.optim"),
        ("from dualadam.optim import _step", "dualadam.optim"),
        ("from dualadam.optim._step import loop", "dualadam.optim"),
        ("from dualadam import optim\noptim._step", "dualadam.optim"),
        ("import dualadam.compare.stats as s\ndef f(): return s._t", "dualadam.compare.stats"),
        ('patch("dualadam.optim._step.loop")', "dualadam.optim"),
    ],
)
def test_a_private_name_would_be_seen(text: str, owner: str):
    assert owner in {reference.private_owner for reference in references(text)}


@pytest.mark.parametrize(
    "text",
    ["from dualadam import __version__", "from dualadam.tasks import x\nx._replace(a=1)", "_x = 1"],
)
def test_dunders_named_tuples_and_local_names_are_not_private(text: str):
    assert {reference.private_owner for reference in references(text)} <= {None}


@pytest.mark.parametrize("file", FILES, ids=relative)
def test_imports_stand_at_the_top_of_a_file(file: Path):
    """An import in a function would hide a circle, and a missing library until it is called."""
    for reference in references(file.read_text()):
        if reference.imported and reference.in_function:
            assert any(
                relative(file).startswith(files) and reference.name.startswith(modules)
                for files, modules in LOCAL_IMPORTS
            ), reference.name


def test_import_dualadam_adds_only_the_optimizers_to_what_torch_loads():
    code = (
        "import sys, torch; before = set(sys.modules); import dualadam; dualadam.DualAdam; "
        "print(*sorted(set(sys.modules) - before))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(SOURCE.parent)},
    )
    added = run.stdout.split()
    assert {name.split(".")[0] for name in added} == {"dualadam"}
    assert {name.split(".")[1] for name in added if "." in name} == {"_version", "optim"}


def test_torch_is_imported_with_the_first_name_that_needs_it():
    code = (
        "import sys, dualadam; assert set(dualadam.__all__) <= set(dir(dualadam)); "
        "assert 'torch' not in sys.modules; "
        "dualadam.optim.DualAdam is dualadam.DualAdam or sys.exit(1); "
        "assert 'DualAdam' in vars(dualadam); assert 'torch' in sys.modules"
    )
    env = {"PYTHONPATH": str(SOURCE.parent)}
    subprocess.run([sys.executable, "-c", code], check=True, env=env)
    with pytest.raises(AttributeError, match="module 'dualadam' has no attribute 'DualAdamW'"):
        dualadam.DualAdamW  # noqa: B018


def test_the_public_names_are_these_and_have_docstrings():
    optimizers = {"DualAdam", "InvAdam", "decay_groups", "switch_rate_for"}
    readers = {"diagnose", "fused_status", "moments_of"}
    names = optimizers | readers
    assert set(dualadam.__all__) == {*names, "__version__"}
    assert all(getattr(dualadam, name).__doc__ for name in names)


def test_every_dependency_has_its_reason():
    root = SOURCE.parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    extras = [line for extra in project["optional-dependencies"].values() for line in extra]
    names = {re.split("[>=<[;]", line)[0].strip() for line in extras} - {"dualadam"}
    pages = ("0009-dependencies.md", "0034-tools-of-the-project.md")
    lines = "".join((root / "docs/decisions" / page).read_text() for page in pages).splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    reasons = {name for row in rows for name in row.split("|")[1].strip().split(", ")}
    assert names <= reasons
    assert [re.split("[>=]", line)[0] for line in project["dependencies"]] == ["torch"]
