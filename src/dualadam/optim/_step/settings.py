"""The settings of a step, which are the same for all parameters of a group."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from dualadam.optim._step.equations import Coefficients, Scalar, step_coefficients


class StepSettings(NamedTuple):
    """A group's settings as one step of any path uses them."""

    lr: Any  # a float or a 1-element tensor, as beta1 and beta2
    beta1: Any
    beta2: Any
    eps: float
    weight_decay: float
    switch_rate: float
    maximize: bool
    # step and coefficients stay tensors, in a captured, compiled or differentiated step
    on_device: bool
    stochastic_rounding: bool
    # set by GradScaler, for the fused path alone
    grad_scale: Tensor | None = None
    found_inf: Tensor | None = None

    def coefficients(self, step: Scalar) -> Coefficients:
        """Return the coefficients of a step with these settings."""
        return step_coefficients(step, self.lr, self.beta1, self.beta2, self.switch_rate)

    def in_double(self) -> StepSettings:
        """Return the settings with tensors as 0-d float64, for coefficients in double precision."""
        return self._replace(
            lr=as_double(self.lr), beta1=as_double(self.beta1), beta2=as_double(self.beta2)
        )

    def as_numbers(self) -> StepSettings:
        """Return the settings with tensors as Python floats, which reads them on the host."""
        return self._replace(lr=float(self.lr), beta1=float(self.beta1), beta2=float(self.beta2))


def as_double(scalar: float | Tensor) -> Any:
    """Return a tensor as 0-d float64 (float32 on MPS, which has no float64); a number unchanged."""
    if not isinstance(scalar, Tensor):
        return scalar
    scalar = scalar.reshape(())
    return scalar if scalar.device.type == "mps" else scalar.double()
