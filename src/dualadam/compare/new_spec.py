"""A commented spec to start from."""

from __future__ import annotations

import importlib.resources
import re
from pathlib import Path

from dualadam.errors import InvalidValueError
from dualadam.harness.store import write_whole, writing

TEMPLATE = importlib.resources.files("dualadam.compare") / "templates" / "new.toml.j2"


def new_spec(file: Path) -> str:
    """Return the text of a spec with comments, which can run; its name is the file's."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("._-")[:60] or "study"
    text = TEMPLATE.read_text(encoding="utf-8")
    return text.replace("{{ file }}", file.name).replace("{{ name }}", name)


def write_new_spec(file: Path) -> None:
    """Write a commented spec.

    Raises:
        InvalidValueError: the file exists, or its folder does not.
        UnreachableError: the file cannot be written.
    """
    with writing(file):
        if file.exists():
            raise InvalidValueError(f"FILE must be new, but {file} exists. Choose another name.")
        if not file.absolute().parent.is_dir():
            raise InvalidValueError(f"FILE must be in a folder that exists, got {file}.")
    write_whole(file, new_spec(file))
