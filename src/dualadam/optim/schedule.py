"""How long the hand-over takes."""

from __future__ import annotations


def switch_rate_for(total_steps: int, fraction: float = 0.16) -> float:
    r"""Return the switch rate with which the hand-over ends after a fraction of the training.

    .. math:: \xi = \min(1, 1 / (\text{fraction} \cdot \text{total\_steps}))

    The published experiments use xi = 8e-5. That is 12,500 steps, about 16 % of a CIFAR run of 200
    epochs at batch size 128.

    Args:
        total_steps: optimizer steps of the whole training, an integer of at least 1.
        fraction: share of these steps after which DualAdam is Adam, in (0, 1].

    Returns:
        The switch rate xi per step, in (0, 1].

    Raises:
        TypeError: total_steps is not an integer.
        ValueError: an argument is out of range.

    Example:
        >>> from dualadam import switch_rate_for
        >>> xi = switch_rate_for(200 * 391)  # 200 epochs of 391 batches
        >>> round(1 / xi), f"{xi:.0e}"
        (12512, '8e-05')
    """
    if isinstance(total_steps, bool) or not isinstance(total_steps, int):
        raise TypeError(f"total_steps must be an integer, got {total_steps!r}.")
    if total_steps < 1:
        raise ValueError(f"total_steps must be at least 1, got {total_steps}.")
    if not 0.0 < fraction <= 1.0:
        raise ValueError(f"fraction must be in (0, 1], got {fraction}.")
    return min(1.0, 1.0 / (fraction * total_steps))
