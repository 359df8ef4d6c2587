"""What a spec may do, but probably should not."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from dualadam.compare.optimizers import OPTIMIZERS, Entry
from dualadam.compare.spec import Spec
from dualadam.compare.spec_tables import Arm
from dualadam.optim import DualAdam, InvAdam


def spec_warnings(
    spec: Spec,
    find: Callable[[str], Entry | None] = OPTIMIZERS.get,
    undecayed: Collection[tuple[str, str]] = (),
) -> list[str]:
    """Return the warnings about a spec, a sentence each.

    Args:
        spec: a study.
        find: returns the entry of an optimizer's name, or None where the class is not known. The
            default knows the built-in names and imports nothing.
        undecayed: block and arm of the optimizers that were found to take no weight_decay.
    """
    if spec.smoke or spec.command is not None:  # no meaning; optimizers that we do not know
        return []
    return [
        warning
        for block in spec.block
        for arm in block.arm
        for warning in (
            *_unfinished_hand_over(spec, arm),
            *(
                _coupled_decay(arm, block.weight_decay, find(arm.optimizer))
                if (block.name, arm.name) not in undecayed
                else ()
            ),
            *_own_schedule(spec, arm, find(arm.optimizer)),
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
    if entry is not None and not entry.takes_decay:
        yield f"{arm.name!r}: {arm.optimizer} takes no weight_decay, so nothing of it decays."
    elif entry is None or entry.decoupled is None:
        yield f"{arm.name!r}: the weight decay of {arm.optimizer} may be coupled (L2)."
    elif not entry.decoupled:
        yield f"{arm.name!r}: its weight decay is coupled (L2), unlike that of the other arms."


def _own_schedule(spec: Spec, arm: Arm, entry: Entry | None) -> Iterator[str]:
    """Warn of a schedule on top of one that the optimizer has itself."""
    schedule = arm.schedule or spec.schedule
    if schedule == "constant" or spec.train is not None:
        return
    known = arm.optimizer.partition(".")[0] == "schedulefree"
    averages = entry is not None and all(
        callable(getattr(entry.cls, name, None)) for name in ("train", "eval")
    )
    if known or averages:
        yield (
            f"{arm.name!r}: {arm.optimizer} is schedule-free, but runs under a {schedule} "
            'schedule. Set schedule = "constant" for this arm.'
        )


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
