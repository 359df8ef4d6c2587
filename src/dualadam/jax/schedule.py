"""How long the hand-over should take."""

from __future__ import annotations

from dualadam.errors import InvalidTypeError, InvalidValueError


def switch_rate_for(total_steps: int, fraction: float = 0.16) -> float:
    r"""Return the switch rate with which the hand-over ends after a fraction of the training.

    .. math:: \xi = \min(1, 1 / (\text{fraction} \cdot \text{total\_steps}))

    This is ``dualadam.switch_rate_for`` without torch.

    Args:
        total_steps: updates in the whole training, an integer of at least 1. With
            ``optax.MultiSteps`` count updates, not batches.
        fraction: share of these steps until DualAdam is Adam, in (0, 1].

    Returns:
        The switch rate per step, in (0, 1].

    Raises:
        InvalidTypeError: total_steps is not an integer.
        InvalidValueError: an argument is out of range.

    Example:
        >>> from dualadam.jax import switch_rate_for
        >>> round(1 / switch_rate_for(10_000))
        1600
    """
    if isinstance(total_steps, bool) or not isinstance(total_steps, int):
        raise InvalidTypeError(f"total_steps must be an integer, got {total_steps!r}.")
    if total_steps < 1:
        raise InvalidValueError(f"total_steps must be at least 1, got {total_steps}.")
    if not 0.0 < fraction <= 1.0:
        raise InvalidValueError(f"fraction must be in (0, 1], got {fraction}.")
    return min(1.0, 1.0 / (fraction * total_steps))
