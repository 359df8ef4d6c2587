"""Reading a spec: a TOML file, a built-in spec, or the ``spec.json`` of a study."""

from __future__ import annotations

import importlib.resources
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from dualadam.compare.check import unknown_names
from dualadam.compare.recorded_task import with_recorded_task
from dualadam.compare.spec import RECORDED, Spec
from dualadam.compare.spec_tables import Arm, Block, Primary
from dualadam.compare.spec_text import (
    MOST_MISTAKES,
    Mistake,
    Place,
    SpecError,
    SpecText,
    cut,
    ended,
    nearest,
)
from dualadam.compare.toml import check_size, read_toml
from dualadam.harness.store import reading

SPEC_FILE = "spec.json"
BUILTIN = importlib.resources.files("dualadam.compare") / "specs"
_TABLES: dict[Place, type[BaseModel]] = {
    (): Spec,
    ("primary",): Primary,
    ("block",): Block,
    ("block", "arm"): Arm,
}


def builtin_specs() -> list[str]:
    """Return the names of the built-in specs."""
    files = (file.name for file in BUILTIN.iterdir())
    return sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml"))


def load_spec(source: str | Path) -> Spec:
    """Read a spec and check its shape. ``check_spec`` checks whether it can run.

    Args:
        source: the path of a TOML file, or the name of a built-in spec (see ``dualadam list``).

    Raises:
        SpecError: the source is no spec; the message names every mistake with its line.
        UnreachableError: the file cannot be read.

    Example:
        >>> spec = load_spec("digits")
        >>> spec.primary.arm, spec.primary.against
        ('DualAdam', 'Adam + warm-up')
    """
    return parse_spec(read_spec_text(source))


def read_spec_text(source: str | Path) -> SpecText:
    """Read the text of a spec.

    Raises:
        SpecError: the source is neither a text file nor a built-in name.
        UnreachableError: the file cannot be read.
    """
    if str(source) in builtin_specs():
        return SpecText((BUILTIN / f"{source}.toml").read_text(), f"{source}.toml")
    path = Path(source)
    with reading(path):
        is_file = path.is_file()
    if not is_file:
        message = f"spec must be a TOML file or a built-in name, got {str(source)!r}"
        raise SpecError(ended(f"{message}; {nearest(source, builtin_specs())}"))
    with reading(path):
        check_size(path.stat().st_size, str(path))
    return SpecText(_read(path), str(path))


def parse_spec(text: SpecText | str) -> Spec:
    """Check the shape of a spec.

    Raises:
        SpecError: the text is no spec; the message names every mistake with its line.
    """
    text = SpecText(text) if isinstance(text, str) else text
    try:
        return Spec.model_validate(read_toml(text.content, text.name))
    except ValidationError as error:
        raise _spec_error(error, text) from None


def make_spec(table: Mapping[str, Any]) -> Spec:
    """Return the spec of a table whose keys are those of a TOML file.

    Raises:
        SpecError: the message names every mistake.
    """
    try:
        return Spec.model_validate(table)
    except ValidationError as error:
        raise _spec_error(error, SpecText()) from None


def load_study_spec(folder: Path) -> Spec:
    """Read the ``spec.json`` of a study, whose optimizer classes and data may be gone.

    Raises:
        SpecError: the file is no spec. UnreachableError: it cannot be read.
    """
    file = folder / SPEC_FILE
    text = SpecText(name=str(file))
    try:
        spec = with_recorded_task(folder, Spec.model_validate_json(_read(file), context=RECORDED))
    except ValidationError as error:
        raise _spec_error(error, text) from None
    if unknown := unknown_names(spec):
        raise text.error(unknown)
    return spec


def _read(file: Path) -> str:
    with reading(file):
        content = file.read_bytes()
    try:
        return content.decode("utf-8-sig")  # with or without a byte order mark
    except UnicodeDecodeError as error:
        raise SpecError(f"{file} is not a text file in UTF-8: {error}.") from error


def _spec_error(error: ValidationError, text: SpecText) -> SpecError:
    found = error.errors(include_url=False)
    return text.error(map(_mistake, found[:MOST_MISTAKES]), len(found[MOST_MISTAKES:]))


def _mistake(error: ErrorDetails) -> Mistake:
    """Return what pydantic found, in this package's words."""
    context = error.get("ctx", {})
    place = (*error["loc"], *context.get("at", ()))
    keys = tuple(part for part in place if isinstance(part, str))
    got = cut(repr(error["input"]))
    match error["type"]:
        case "extra_forbidden":
            table = _TABLES.get(keys[:-1], Spec)
            message = f"is not a key of a spec; {nearest(keys[-1], table.model_fields)}"
        case "json_invalid":
            message = "is not JSON"
        case "missing":
            message = "is missing"
        case "spec":
            message = error["msg"]
        case "string_pattern_mismatch":
            message = f"has a character that is not allowed here, got {got}; "
            message += "letters, digits and '-' are safe"
        case _:
            message = f"{error['msg'].replace('Input should', 'must')}, got {got}"
    return Mistake(place, message)
