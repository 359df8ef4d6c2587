"""The optimizers. This package knows nobody else in the house and needs torch alone."""

from dualadam.optim._diagnostics import Diagnosis, diagnose
from dualadam.optim._fused_status import FusedStatus, fused_status
from dualadam.optim._groups import decay_groups
from dualadam.optim._optimizer import DualAdam, InvAdam
from dualadam.optim._schedule import switch_rate_for

__all__ = ["Diagnosis", "DualAdam", "FusedStatus", "InvAdam", "decay_groups", "diagnose", "fused_status", "switch_rate_for"]
