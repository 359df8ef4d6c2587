"""The site shows every public name and every picture, and its commands exist.

`make docs` builds it with warnings as errors: a page that no table of contents holds, a link into
nowhere and a docstring that cannot be read end the build. What needs no Sphinx is tested here.
"""

from __future__ import annotations

import ast
import importlib
import re
import runpy
from pathlib import Path

import pytest

from dualadam.cli import main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SOURCE = ROOT / "src"
# the commands of the command line explain themselves, and the report draws its own figures
NOT_FOR_USERS = {"dualadam.cli", "dualadam.compare.figures"}
REFERENCE = re.compile(r"^\.\. public-names:: (\S+)(?:\n   :shown-by: (\S+))?", re.M)


def modules_with_public_names() -> list[str]:
    found = []
    for file in sorted((SOURCE / "dualadam").rglob("*.py")):
        assigned = [
            node for node in ast.parse(file.read_text()).body if isinstance(node, ast.Assign)
        ]
        names = {target.id for node in assigned for target in node.targets if hasattr(target, "id")}
        module = ".".join(file.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        if "__all__" in names and "._" not in module and module not in NOT_FOR_USERS:
            found.append(module)
    return found


def reference() -> dict[str, str]:
    """Return the modules of the reference, each with the module that shows some of its names."""
    pages = sorted((DOCS / "api").glob("*.md"))
    return dict(match for page in pages for match in REFERENCE.findall(page.read_text()))


def test_there_are_modules_with_public_names():
    assert {"dualadam", "dualadam.errors", "dualadam.jax"} <= set(modules_with_public_names())


@pytest.mark.parametrize("module", modules_with_public_names())
def test_the_reference_shows_every_public_name_of(module: str):
    assert module in reference(), f"add `.. public-names:: {module}` to a page of docs/api"
    if shown_by := reference()[module]:
        # another module of the reference shows the names that both have, and as the same objects
        assert shown_by in reference()
        one, other = importlib.import_module(module), importlib.import_module(shown_by)
        for name in set(one.__all__) & set(other.__all__):
            assert getattr(one, name) is getattr(other, name)


def test_the_gallery_shows_every_picture_of_the_pages():
    gallery = (DOCS / "gallery.md").read_text()
    for page in [*DOCS.glob("*.md"), ROOT / "README.md"]:
        for picture in re.findall(r"!\[[^\]]*\]\((?:docs/)?(images/[^)]+)\)", page.read_text()):
            assert f"({picture})" in gallery
    files = {str(file.relative_to(DOCS)) for file in (DOCS / "images").rglob("*.png")}
    assert files <= set(re.findall(r"\((images/[^)]+)\)", gallery))


def commands() -> list[tuple[str, str]]:
    """Return the lines of the pages that call make or dualadam, as (program, arguments)."""
    found = set()
    for page in [*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for block in re.findall(r"^```sh\n(.*?)^```", page.read_text(), re.S | re.M):
            found |= set(re.findall(r"^(make|dualadam) ([^#\n]+)", block, re.M))
    return sorted((program, arguments.strip()) for program, arguments in found)


@pytest.mark.parametrize(("program", "arguments"), commands())
def test_a_command_of_the_pages_exists_with_its_options(
    program: str, arguments: str, capsys: pytest.CaptureFixture[str]
):
    name, *rest = arguments.split()
    if program == "make":
        assert re.search(rf"^{name}:.*##", (ROOT / "Makefile").read_text(), re.M)
        return
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])
    assert end.value.code == 0
    help_text = capsys.readouterr().out
    assert [word for word in rest if word.startswith("-") and word not in help_text.split()] == []


def test_the_picture_of_diagnose_shows_one_training_above_the_threshold_and_one_below(
    tmp_path: Path,
):
    script = runpy.run_path(str(DOCS / "figures/diagnose.py"))
    acts, rests = script["both"]()
    assert max(acts.ratio) > 1 > script["THRESHOLD"] > max(rests.ratio)
    assert rests.effective_weight == pytest.approx(rests.warmup, abs=0.01)
    assert acts.effective_weight[2] > 2 * acts.warmup[2]
    script["draw"]((acts, rests), tmp_path / "picture.png")
    assert (tmp_path / "picture.png").read_bytes().startswith(b"\x89PNG")
