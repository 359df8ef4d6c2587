"""The optimizers that an arm may name. Needs torch alone."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch.optim import Optimizer

from dualadam.compare.decay import applied_decay, independent, lr_of, weight_decay_at
from dualadam.compare.run import AppliedDecay, Run
from dualadam.compare.warmup import LinearWarmup
from dualadam.errors import InvalidValueError, last_line
from dualadam.optim import DualAdam, InvAdam, fused_status

DECOUPLED = {"decoupled_weight_decay": True}
# classes of torch whose decay is L2 unless decoupled_weight_decay is set
COUPLED = (
    torch.optim.Adam,
    torch.optim.Adadelta,
    torch.optim.Adagrad,
    torch.optim.Adamax,
    torch.optim.ASGD,
    torch.optim.NAdam,
    torch.optim.RAdam,
    torch.optim.RMSprop,
    torch.optim.SGD,
)


# fused, they refuse sparse gradients, and on a CPU they gain little
NEVER_FUSED = (torch.optim.SGD, torch.optim.Adagrad)


@dataclass(frozen=True)
class Entry:
    """An optimizer as the comparison knows it.

    Attributes:
        cls: its class.
        summary: one line for ``dualadam list``.
        fixed: arguments that every arm with this optimizer gets.
        warmup: whether it is a control, warmed up over 1 / switch_rate steps.
        decoupled: whether weight decay is decoupled from the gradient; None where unknown.
    """

    cls: type[Optimizer]
    summary: str
    fixed: Mapping[str, Any] = field(default_factory=dict)
    warmup: bool = False
    decoupled: bool | None = True

    @property
    def takes_decay(self) -> bool:
        """Whether the class has an argument weight_decay."""
        return "weight_decay" in inspect.signature(self.cls).parameters

    def takes_fused(self, arguments: Mapping[str, Any]) -> bool:
        """Whether the class has a fused step that works beside these arguments."""
        if issubclass(self.cls, DualAdam | InvAdam) and not fused_status().available:
            return False
        has_fused = "fused" in inspect.signature(self.cls).parameters
        chosen = arguments.keys() & {"fused", "foreach", "differentiable"}
        return has_fused and not chosen and not issubclass(self.cls, NEVER_FUSED)

    def arguments(self) -> list[str]:
        """Return the names that ``args`` and ``tune`` of a spec may set."""
        taken = {"params", "weight_decay", *self.fixed}
        names = [name for name in inspect.signature(self.cls).parameters if name not in taken]
        return names + ["switch_rate"] * self.warmup

    def warmed(self) -> Entry:
        """Return the control with this optimizer.

        Raises:
            InvalidValueError: the class has a switch_rate itself.
        """
        if not self.warmup and "switch_rate" in self.arguments():
            raise InvalidValueError("warmup must be false: the optimizer has its own switch_rate.")
        return replace(self, warmup=True)


OPTIMIZERS: dict[str, Entry] = {
    "Adam": Entry(
        torch.optim.Adam, "torch.optim.Adam; weight decay is coupled (L2)", decoupled=False
    ),
    "AdamW": Entry(torch.optim.AdamW, "torch.optim.AdamW"),
    "NAdam": Entry(torch.optim.NAdam, "torch.optim.NAdam with decoupled decay", DECOUPLED),
    "RAdam": Entry(torch.optim.RAdam, "torch.optim.RAdam with decoupled decay", DECOUPLED),
    "SGD": Entry(
        torch.optim.SGD,
        "torch.optim.SGD with momentum 0.9; weight decay is coupled (L2)",
        {"momentum": 0.9},
        decoupled=False,
    ),
    "InvAdam": Entry(
        InvAdam, "dualadam.InvAdam; its learning rates are 1 / r² times Adam's, so tune them apart"
    ),
    "DualAdam": Entry(
        DualAdam, "dualadam.DualAdam: hands over to Adam within 1 / switch_rate steps"
    ),
    "Adam+warmup": Entry(
        torch.optim.Adam,
        "the control: Adam, learning rate x min(1, switch_rate t), decay not warmed",
        DECOUPLED,
        warmup=True,
    ),
    "AdamW+warmup": Entry(torch.optim.AdamW, "the control with AdamW", warmup=True),
}


def find_entry(name: str) -> Entry:
    """Return the entry of a known name, or a new one for an importable class.

    Args:
        name: a key of ``OPTIMIZERS``, or a path such as ``schedulefree.AdamWScheduleFree``.

    Raises:
        InvalidValueError: the name is neither known nor the path of a torch optimizer.
    """
    if name in OPTIMIZERS:
        return OPTIMIZERS[name]
    module, _, attribute = name.rpartition(".")
    if not module or not all(part.isidentifier() for part in name.split(".")):
        raise InvalidValueError(
            f"optimizer must be one of {', '.join(OPTIMIZERS)}, or the path of an importable "
            f"class, got {name!r}."
        )
    try:
        cls = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # a user's own module may raise anything
        raise InvalidValueError(
            f"the class {name!r} cannot be imported: {last_line(error)}."
        ) from error
    if not (isinstance(cls, type) and issubclass(cls, Optimizer)):
        raise InvalidValueError(
            f"{name!r} must be a subclass of torch.optim.Optimizer, got {cls!r}."
        )
    return Entry(cls, f"the class {name}", decoupled=None)


def make_optimizer(
    name: str,
    params: Any,
    settings: Mapping[str, Any],
    weight_decay: float = 0.0,
    *,
    reference_lr: float | None = None,
    warmup: bool = False,
    fused: bool = False,
) -> Optimizer:
    """Return the optimizer of an arm.

    Args:
        name: as for ``find_entry``.
        params: parameters or parameter groups.
        settings: arguments of the class; for a control also ``switch_rate``, in (0, 1], which
            is the rate of its warm-up.
        weight_decay: passed on where the class has such an argument.
        reference_lr: the learning rate at which a decoupled weight_decay is meant, also that of the
            groups in ``params``; None leaves it as it is. See ``decay.py``.
        warmup: whether to warm the optimizer up, whatever its class.
        fused: whether to take the fused step of a class that has one, unless the settings choose a
            step themselves. Only for real parameters on a CPU.
    """
    entry = find_entry(name).warmed() if warmup else find_entry(name)
    arguments = {**entry.fixed, **settings}
    rate = arguments.pop("switch_rate") if entry.warmup else None
    if fused:
        params = list(params)
        if entry.takes_fused(arguments) and all(map(_is_real_on_cpu, _tensors(params))):
            arguments["fused"] = True
    if entry.takes_decay:
        arguments["weight_decay"] = weight_decay
        if reference_lr is not None:
            probe = entry.cls([_one_parameter()], **{**arguments, "weight_decay": 0.0})
            if decoupled(entry, probe):
                lr = lr_of(probe.defaults)
                params = [independent(p, weight_decay, lr, reference_lr) for p in params]
                arguments["weight_decay"] = weight_decay_at(weight_decay, reference_lr, lr)
    optimizer = entry.cls(params, **arguments)
    if rate is None:
        return optimizer
    return LinearWarmup(optimizer, rate, decoupled=decoupled(entry, optimizer))


def optimizer_of(run: Run, params: Any) -> Optimizer:
    """Return the optimizer of a run, for parameters or parameter groups."""
    return make_optimizer(
        run.optimizer,
        params,
        run.settings,
        run.weight_decay,
        reference_lr=run.reference_lr,
        warmup=run.warmup,
        fused=run.fused,
    )


def is_fused(optimizer: Optimizer) -> bool:
    """Return whether the steps of all parameters are fused."""
    return all(group.get("fused") for group in optimizer.param_groups)


def decoupled(entry: Entry, optimizer: Optimizer) -> bool:
    """Return whether the weight decay is decoupled, as far as the class says."""
    return decoupled_by_class(optimizer) if entry.decoupled is None else entry.decoupled


def decoupled_by_class(optimizer: Optimizer) -> bool:
    """Return whether the weight decay is decoupled: what its flag says, or that it is no L2."""
    flag = optimizer.defaults.get("decoupled_weight_decay")
    return bool(flag) if flag is not None else not isinstance(optimizer, COUPLED)


def decay_of(name: str, optimizer: Optimizer) -> AppliedDecay:
    """Return the weight decay that the optimizer of an arm applies, before any schedule.

    Args:
        name: as for ``find_entry``.
        optimizer: as ``make_optimizer`` returned it.
    """
    inner = optimizer.optimizer if isinstance(optimizer, LinearWarmup) else optimizer
    return applied_decay(inner, decoupled=decouples(name, optimizer))


def decouples(name: str, optimizer: Optimizer) -> bool:
    """Return whether the optimizer of an arm, as ``make_optimizer`` returned it, decouples decay.

    Args:
        name: as for ``find_entry``.
        optimizer: of the arm, with its warm-up if it has one.
    """
    inner = optimizer.optimizer if isinstance(optimizer, LinearWarmup) else optimizer
    return decoupled(find_entry(name), inner)


def set_training(optimizer: Optimizer, training: bool) -> None:
    """Put the weights of an optimizer that averages them into place, for training or evaluation.

    Schedule-Free optimizers have the methods ``train`` and ``eval``; others need nothing.
    """
    if callable(switch := getattr(optimizer, "train" if training else "eval", None)):
        switch()


def try_step(
    name: str, settings: Mapping[str, Any], *, warmup: bool = False, fused: bool = False
) -> None:
    """Take one step on one number: some classes check their arguments only there.

    Raises:
        Exception: whatever the class raises.
    """
    param = _one_parameter()
    param.grad = torch.ones_like(param)
    optimizer = make_optimizer(name, [param], settings, warmup=warmup, fused=fused)
    set_training(optimizer, True)
    optimizer.step()


def _one_parameter() -> torch.nn.Parameter:
    return torch.nn.Parameter(torch.ones(1, 1))  # some classes take matrices alone


def _tensors(params: list[Any]) -> Iterator[torch.Tensor]:
    """Yield the parameters of parameters or groups."""
    for item in params:
        yield from item["params"] if isinstance(item, dict) else [item]


def _is_real_on_cpu(param: torch.Tensor) -> bool:
    return param.device.type == "cpu" and param.is_floating_point()
