"""Warnings that point to the user's line."""

from __future__ import annotations

import sys
import warnings


def warn(message: str) -> None:
    """Warn at the innermost line outside of torch and this package."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _is_inside(frame.f_globals.get("__name__", "")):
        level, frame = level + 1, frame.f_back
    warnings.warn(message, stacklevel=level)


def _is_inside(module: str) -> bool:
    """Whether a module belongs to torch or to this package."""
    return module.split(".")[0] in ("torch", "contextlib") or module.startswith("dualadam.optim")
