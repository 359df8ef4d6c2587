"""What the callbacks warn of, in words: what was seen, what it means, what to do."""

from __future__ import annotations

import math

from dualadam.optim import switch_rate_for


def inverse_part_is_strong(name: str, step: int, share: float, second_moment: float) -> str:
    """Return the warning that gradients are large.

    Args:
        name: of the parameter group.
        step: of the training.
        share: norm of the inverse part over the norm of Adam's step.
        second_moment: mean of vh.

    Example:
        >>> print(inverse_part_is_strong("parameter group 0", 3, 0.25, 0.4).split(":")[0])
        At step 3 the inverse part of parameter group 0 is 25 % of Adam's step
    """
    return (
        f"At step {step} the inverse part of {name} is {100 * share:.3g} % of Adam's step: "
        f"gradients are large (their mean square is {second_moment:.1e}). The inverse part grows "
        "with the square of the loss scale, and the training can diverge. Check that the loss is "
        "a mean and not a sum, that the losses of accumulated batches are divided by their number, "
        "and that a scaled loss is unscaled before the step. Then clip the gradients (a norm of at "
        "most G bounds their mean square by G^2 / number of parameters), or lower lr."
    )


def two_warm_ups(name: str, step: int, before: float, lr: float) -> str:
    """Return the warning that the learning rate rises during the hand-over.

    Example:
        >>> print(two_warm_ups("parameter group 0", 5, 0.1, 0.5).split(":")[0])
        At step 5, within the hand-over, lr of parameter group 0 has risen from 0.1 to 0.5
    """
    return (
        f"At step {step}, within the hand-over, lr of {name} has risen from {before:g} to {lr:g}: "
        "the warm-up of a scheduler and the hand-over multiply, and the first steps are smaller "
        "than either alone makes them. Use one of the two: a schedule without warm-up, or "
        "switch_rate=1, which is Adam from the first step."
    )


def hand_over_too_long(name: str, switch_rate: float, num_steps: float) -> str:
    """Return the warning that the training is shorter than the hand-over.

    Example:
        >>> print(hand_over_too_long("parameter group 0", 0.01, 50).split(": ")[1])
        DualAdam does not become Adam. Use switch_rate=switch_rate_for(50), which is 0.125.
    """
    steps = max(1, int(num_steps))
    return (
        f"The hand-over of {name} takes {_length(switch_rate)} updates (1 / switch_rate), and the "
        f"training has {steps}: DualAdam does not become Adam. "
        f"Use switch_rate=switch_rate_for({steps}), which is {switch_rate_for(steps):.3g}."
    )


def ended_early(name: str, switch_rate: float, count: float) -> str:
    """Return the warning that the training has ended within the hand-over.

    Example:
        >>> print(ended_early("parameter group 0", 0.01, 50).split(": ")[0])
        The training ended after 50 of the 100 updates that the hand-over of parameter group 0 takes
    """
    return (
        f"The training ended after {int(count)} of the {_length(switch_rate)} updates that the "
        f"hand-over of {name} takes: DualAdam has not become Adam. Use a larger switch_rate, "
        "such as switch_rate_for(total_steps)."
    )


def _length(switch_rate: float) -> int:
    return math.ceil(1 / switch_rate - 1e-6)
