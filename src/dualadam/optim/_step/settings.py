"""What a step is given: columns of tensors, and settings that are the same for all."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from dualadam.optim._step.equations import Scalar, step_coefficients

# parameters, gradients, both moments, steps, and the parameters' places among all of the optimizer
Columns = tuple[list[Tensor], list[Tensor], list[Tensor], list[Tensor], list[Tensor], list[int]]


class StepSettings(NamedTuple):
    """A group's settings as one step uses them, the same for every path; the order is that of ``torch.ops.dualadam.fused_step``.

    ``on_device`` keeps step and coefficients as tensors (captured, compiled or differentiated steps); else they are Python floats.
    """

    lr: Any  # float or 0-d tensor, as beta1 and beta2
    beta1: Any
    beta2: Any
    eps: float
    weight_decay: float
    switch_rate: float
    maximize: bool
    on_device: bool
    stochastic_rounding: bool

    def coefficients(self, step: Scalar) -> tuple[Any, Any, Any]:
        """Return ``step_coefficients`` of these settings."""
        return step_coefficients(step, self.lr, self.beta1, self.beta2, self.switch_rate)


def in_double(settings: StepSettings) -> StepSettings:
    """Return the settings with their tensors as 0-d float64, so that coefficients are formed in double precision."""
    lr, beta1, beta2 = settings[:3]
    return StepSettings(as_double(lr), as_double(beta1), as_double(beta2), *settings[3:])


def as_double(scalar: float | Tensor) -> Any:
    """Return a tensor as a 0-d float64 tensor (float32 where the device has no float64), a number as it is."""
    if not isinstance(scalar, Tensor):
        return scalar
    scalar = scalar.reshape(())
    return scalar if scalar.device.type == "mps" else scalar.double()
