"""The optimizers. This package knows nobody else in the house and needs torch alone."""

from dualadam.optim._kernels.status import FusedStatus, fused_status
from dualadam.optim.diagnostics import Diagnosis, diagnose
from dualadam.optim.dualadam import DualAdam, InvAdam
from dualadam.optim.groups import decay_groups
from dualadam.optim.schedule import switch_rate_for

__all__ = [
    "Diagnosis",
    "DualAdam",
    "FusedStatus",
    "InvAdam",
    "decay_groups",
    "diagnose",
    "fused_status",
    "switch_rate_for",
]
