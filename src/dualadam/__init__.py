"""InvAdam and DualAdam: optimizers that start as Adam's inverse counterpart and hand over to Adam.

Source: arXiv:2603.07122.
"""

from dualadam._version import __version__
from dualadam.optim import (
    DualAdam,
    InvAdam,
    decay_groups,
    diagnose,
    fused_status,
    switch_rate_for,
)

__all__ = [
    "DualAdam",
    "InvAdam",
    "__version__",
    "decay_groups",
    "diagnose",
    "fused_status",
    "switch_rate_for",
]
