"""InvAdam and DualAdam: optimizers that start as Adam's inverse counterpart and hand over to Adam.

Source: arXiv:2603.07122. torch is imported with the first name that needs it, so that the command
line can answer without it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dualadam._version import __version__

if TYPE_CHECKING:
    from dualadam.optim import (
        DualAdam,
        InvAdam,
        decay_groups,
        diagnose,
        fused_status,
        moments_of,
        switch_rate_for,
    )

__all__ = [
    "DualAdam",
    "InvAdam",
    "__version__",
    "decay_groups",
    "diagnose",
    "fused_status",
    "moments_of",
    "switch_rate_for",
]


def __getattr__(name: str) -> Any:
    if name not in __all__ and name != "optim":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    optim = importlib.import_module("dualadam.optim")
    globals().update({known: getattr(optim, known) for known in __all__ if known != "__version__"})
    return globals()[name]


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
