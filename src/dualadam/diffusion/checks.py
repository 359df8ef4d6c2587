"""Checks of arguments that the whole package shares."""

from __future__ import annotations

import math

from dualadam.errors import InvalidValueError


def require_positive(**values: float) -> None:
    """Check that every number is positive and finite.

    Raises:
        InvalidValueError: a number is not; the message names it.
    """
    for name, value in values.items():
        if not 0.0 < value < math.inf:
            raise InvalidValueError(f"{name} must be positive and finite, got {value}.")
