"""How long the hand-over takes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEFAULT_SWITCH_RATE = 0.01  # of the authors' release
DEFAULT_FRACTION = 0.16
HAND_OVER_KEYS = ("total_steps", "hand_over_fraction")  # settings that stand for a switch_rate


def switch_rate_for(total_steps: int, fraction: float = DEFAULT_FRACTION) -> float:
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


def with_switch_rate(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings with total_steps and hand_over_fraction replaced by their switch_rate.

    Raises:
        ValueError: two of them exclude each other, or one is out of range.
        TypeError: total_steps is not an integer.

    Example:
        >>> with_switch_rate({"lr": 0.1, "total_steps": 1000, "hand_over_fraction": 0.5})
        {'lr': 0.1, 'switch_rate': 0.002}
    """
    resolved = dict(settings)
    total_steps = resolved.pop("total_steps", None)
    fraction = resolved.pop("hand_over_fraction", None)
    if total_steps is None:
        if fraction is not None:
            raise ValueError(
                f"hand_over_fraction must come with total_steps, got {fraction} alone."
            )
        if "switch_rate" in resolved and resolved["switch_rate"] is None:
            resolved["switch_rate"] = DEFAULT_SWITCH_RATE
        return resolved
    if resolved.get("switch_rate") is not None:
        raise ValueError(
            f"switch_rate must be left out where total_steps is given, got {total_steps} steps "
            f"and a rate of {resolved['switch_rate']}."
        )
    if fraction is None:
        fraction = DEFAULT_FRACTION
    resolved["switch_rate"] = switch_rate_for(total_steps, fraction)
    return resolved
