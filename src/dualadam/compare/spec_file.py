"""Reading a spec: a TOML file or one that comes with the package, checked whole, with the line of every mistake."""

from __future__ import annotations

import importlib.resources
import tomllib
from pathlib import Path

from pydantic import BaseModel, ValidationError

from dualadam.compare.spec import Arm, Block, Language, Primary, Spec
from dualadam.compare.spec_text import nearest, sentence

BUILTIN = importlib.resources.files("dualadam.compare") / "specs"


class SpecError(ValueError):
    """A spec that cannot be run; the message names file, line, value, range and remedy."""


def builtin_specs() -> list[str]:
    """Return the names of the specs that come with the package."""
    return sorted(
        p.name.removesuffix(".toml") for p in BUILTIN.iterdir() if p.name.endswith(".toml")
    )


def load_spec(source: str | Path) -> Spec:
    """Read and check a spec.

    Args:
        source: the path of a TOML file, or the name of a built-in spec (``dualadam list`` shows them).

    Raises:
        SpecError: what is wrong, where (file and line), and what would be right.

    Example:
        >>> spec = load_spec("digits")
        >>> spec.primary.arm, spec.primary.against
        ('DualAdam', 'Adam + warm-up')
    """
    if str(source) in builtin_specs():
        return parse_spec((BUILTIN / f"{source}.toml").read_text(), f"{source}.toml")
    path = Path(source)
    if not path.is_file():
        raise SpecError(
            f"spec must be a TOML file or a built-in name, got {str(source)!r}; {nearest(source, builtin_specs())}"
        )
    try:
        return parse_spec(path.read_text(encoding="utf-8"), str(path))
    except UnicodeDecodeError as error:
        raise SpecError(f"{path} is not a text file in UTF-8: {error}.") from error


def parse_spec(text: str, name: str = "spec") -> Spec:
    """Check the text of a spec; ``name`` is what messages call it."""
    try:
        return Spec.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise SpecError(f"{name} is not TOML: {error}.") from error
    except RecursionError as error:
        raise SpecError(f"{name} is nested too deeply.") from error
    except ValidationError as error:
        sentences = [sentence(text, name, e, _MODELS) for e in error.errors(include_url=False)]
        raise SpecError("\n".join(dict.fromkeys(sentences))) from None


_MODELS: dict[tuple[str, ...], type[BaseModel]] = {
    (): Spec,
    ("primary",): Primary,
    ("language",): Language,
    ("block",): Block,
    ("block", "arm"): Arm,
}
