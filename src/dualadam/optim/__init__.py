"""The optimizers. This package needs torch alone and imports nothing else of dualadam."""

from dualadam.optim._kernels.cpu import memory_traffic
from dualadam.optim._kernels.status import FusedStatus, fused_status
from dualadam.optim._step.equations import mixing_weight
from dualadam.optim.diagnostics import Diagnosis, diagnose
from dualadam.optim.dualadam import DualAdam, InvAdam
from dualadam.optim.groups import decay_groups
from dualadam.optim.schedule import switch_rate_for
from dualadam.optim.state import Moments, moments_of

__all__ = [
    "Diagnosis",
    "DualAdam",
    "FusedStatus",
    "InvAdam",
    "Moments",
    "decay_groups",
    "diagnose",
    "fused_status",
    "memory_traffic",
    "mixing_weight",
    "moments_of",
    "switch_rate_for",
]
