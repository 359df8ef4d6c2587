"""The options of `dualadam compare --problem`, as a spec."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dualadam.compare.quick_spec import DEFAULT_ARMS, quick_spec
from dualadam.compare.spec import Spec
from dualadam.compare.toml import NotTomlError, read_toml
from dualadam.errors import InvalidValueError
from dualadam.tasks import Source


def spec_of_options(
    problem: str,
    *,
    lr: str | None,
    steps: int | None,
    arms: Sequence[str] | None,
    settings: Sequence[str] | None,
) -> tuple[Spec, Source]:
    """Return the spec of the options, and where its training is found.

    Raises:
        InvalidValueError: an option is missing or cannot be read.
    """
    if lr is None:
        raise InvalidValueError("--lr must be given with --problem: a number, or LOW,HIGH.")
    fields = dict(map(_setting, settings or ()))
    return quick_spec(
        problem, lr=_rate(lr), steps=steps, arms=tuple(arms or DEFAULT_ARMS), **fields
    )


def _rate(text: str) -> float | tuple[float, float]:
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if len(values) == 1:
        return values[0]
    if len(values) == 2:
        return (values[0], values[1])
    raise InvalidValueError(f"--lr must be a number or LOW,HIGH, got {text!r}.")


def _setting(text: str) -> tuple[str, Any]:
    """Read KEY=VALUE; a value that is not TOML is a string."""
    key, equals, value = text.partition("=")
    key = key.strip()
    if not equals or not key.isidentifier() or key in ("what", "lr", "steps", "arms"):
        raise InvalidValueError(f"--set must be KEY=VALUE with a key of a spec, got {text!r}.")
    try:
        return key, read_toml(f"value = {value}", f"--set {key}")["value"]
    except NotTomlError:
        return key, value
