"""What a spec may do, but probably should not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from dualadam.compare.optimizers import OPTIMIZERS, Entry
from dualadam.compare.spec import Arm, Spec
from dualadam.optim import DualAdam, InvAdam


def spec_warnings(spec: Spec, find: Callable[[str], Entry | None] = OPTIMIZERS.get) -> list[str]:
    """Return the warnings about a spec, a sentence each.

    Args:
        spec: a study.
        find: returns the entry of an optimizer's name, or None where the class is not known. The
            default knows the built-in names and imports nothing.
    """
    if spec.smoke:  # its numbers have no meaning
        return []
    return [
        warning
        for block in spec.block
        for arm in block.arm
        for warning in (
            *_unfinished_hand_over(spec, arm),
            *_coupled_decay(arm, block.weight_decay, find(arm.optimizer)),
            *_unequal_precision(spec, arm, find(arm.optimizer)),
        )
    ]


def _unfinished_hand_over(spec: Spec, arm: Arm) -> Iterator[str]:
    rate = arm.tune["switch_rate"][0] if "switch_rate" in arm.tune else arm.args.get("switch_rate")
    total = spec.total_steps
    if rate and total and rate * total < 1:
        yield (
            f"{arm.name!r}: switch_rate {rate:g} needs {1 / rate:,.0f} steps for its hand-over, "
            f"but a run has {total:,} steps. switch_rate_for({total}) gives a rate that fits."
        )


def _coupled_decay(arm: Arm, weight_decay: float, entry: Entry | None) -> Iterator[str]:
    if not weight_decay:
        return
    if entry is None or entry.decoupled is None:
        yield f"{arm.name!r}: the weight decay of {arm.optimizer} may be coupled (L2)."
    elif not entry.decoupled:
        yield f"{arm.name!r}: its weight decay is coupled (L2), unlike that of the other arms."


def _unequal_precision(spec: Spec, arm: Arm, entry: Entry | None) -> Iterator[str]:
    tuned = spec.fine_tuning
    if tuned is None or tuned.dtype == "float32" or entry is None:
        return
    if tuned.parameters == "lora" and spec.entry.language == "generation":
        return  # only the adapters are trained, and they are float32
    if not issubclass(entry.cls, DualAdam | InvAdam):
        yield (
            f"{arm.name!r}: torch's optimizers keep the state of bfloat16 parameters in bfloat16, "
            "DualAdam and InvAdam in float32. The difference includes this unequal precision."
        )
