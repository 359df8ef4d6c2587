"""The optimizers as the theory sees them: each is one preconditioner p(v)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dualadam.errors import InvalidValueError


@dataclass(frozen=True)
class Rule:
    r"""An optimizer theta <- theta - lr p(v) m, where v is the second moment of the gradient.

    .. math::
        p(v) = (1 - \alpha) v^{-1/2} + \alpha v^{1/2} \quad\text{or, for SGD,}\quad p = 1

    Args:
        name: of the optimizer in tables and figures.
        mixing_weight: alpha in [0, 1], held constant: 0 is Adam, 1 is InvAdam; None is SGD.

    Raises:
        InvalidValueError: mixing_weight is out of range.

    Example:
        >>> [rule.preconditioner(0.25) for rule in (SGD, ADAM, INVADAM, mixture(0.5))]
        [1.0, 2.0, 0.5, 1.25]
    """

    name: str
    mixing_weight: float | None = None

    def __post_init__(self) -> None:
        if self.mixing_weight is not None and not 0.0 <= self.mixing_weight <= 1.0:
            raise InvalidValueError(
                f"mixing_weight must be in [0, 1] or None, got {self.mixing_weight}."
            )

    def preconditioner(self, v: Any) -> Any:
        """Return p(v) for a number or an array, v > 0."""
        if self.mixing_weight is None:
            return v * 0 + 1.0
        return (1 - self.mixing_weight) * v**-0.5 + self.mixing_weight * v**0.5

    def local_exponent(self, v: float) -> float:
        r"""Return :math:`d \ln(p v) / d \ln v` at v, which is 1 + kappa where p = v^kappa.

        The exponent E of the escape time has the opposite slope, :math:`d \ln E / d \ln c`, where c
        is the noise variance.

        .. math::
            1 \ (\text{SGD}), \qquad
            \frac{(1 - \alpha)/2 + 3 \alpha v / 2}{(1 - \alpha) + \alpha v}

        Example:
            >>> rules = (SGD, ADAM, INVADAM, mixture(0.98))
            >>> [round(rule.local_exponent(0.02), 3) for rule in rules]
            [1.0, 0.5, 1.5, 0.995]
        """
        if self.mixing_weight is None:
            return 1.0
        a = self.mixing_weight
        return ((1 - a) / 2 + 3 * a * v / 2) / ((1 - a) + a * v)


def mixture(mixing_weight: float) -> Rule:
    """Return DualAdam held at one mixing weight in [0, 1]."""
    return Rule(f"mixture {mixing_weight:g}", mixing_weight)


SGD = Rule("SGD")
ADAM = Rule("Adam", 0.0)
INVADAM = Rule("InvAdam", 1.0)
