"""The tables of a spec below the study itself: an arm, a block of arms, the primary comparison."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from dualadam.compare.spec_values import Finite, Name, Plain, Range, Schedule, refuse


class Table(BaseModel):
    """What all tables of a spec share: no unknown key, no conversion, no change."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Arm(Table):
    """One optimizer, its fixed arguments and the ranges of its tuned ones.

    Attributes:
        optimizer: a name of ``OPTIMIZERS``, or an importable class.
        args: fixed arguments.
        tune: name -> range [low, high], sampled on a logarithmic scale.
        loss_scale: factor of the loss, above 0.
        schedule: of the learning rate; None takes the spec's.
        warmup: whether the optimizer is warmed up over 1 / switch_rate steps, as a control is.
    """

    name: Name
    optimizer: Annotated[str, Field(validation_alias=AliasChoices("optimizer", "class"))]
    args: dict[str, Plain] = {}
    tune: dict[str, Range] = {}
    loss_scale: Annotated[Finite, Field(gt=0)] = 1.0
    schedule: Schedule | None = None
    warmup: bool = False

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave ``warmup = false`` out, as the ``spec.json`` of older studies does."""
        return {k: v for k, v in write(self).items() if k != "warmup" or v}

    @model_validator(mode="after")
    def _each_argument_is_set_once(self) -> Arm:
        for table in ("args", "tune"):
            if "weight_decay" in getattr(self, table):
                refuse("must be set for the block: its arms share it", table, "weight_decay")
        if both := set(self.args) & set(self.tune):
            refuse("must not be in args too: it is either fixed or tuned", "tune", min(both))
        return self


class Block(Table):
    """Arms that share a weight decay. Arms of different blocks are never compared.

    Attributes:
        weight_decay: lambda; ``Spec.decay`` says at which learning rate.
        reference_lr: the learning rate at which lambda is meant; None takes the control's, see
            ``control.py``.
    """

    name: Name = "all arms"
    weight_decay: Annotated[Finite, Field(ge=0)] = 0.0
    reference_lr: Annotated[Finite, Field(gt=0)] | None = None
    arm: Annotated[list[Arm], Field(min_length=1, max_length=100)]

    @model_serializer(mode="wrap")
    def _without_later_defaults(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave ``reference_lr`` out where it is not set, as older ``spec.json`` do."""
        return {k: v for k, v in write(self).items() if k != "reference_lr" or v is not None}

    @model_validator(mode="after")
    def _names_differ(self) -> Block:
        names = [arm.name for arm in self.arm]
        for index, name in enumerate(names):
            if name in names[:index]:
                message = f"must differ from the other arms of the block, got {name!r} again"
                refuse(message, "arm", index, "name")
        return self

    def find(self, name: str) -> Arm:
        """Return the arm of this name."""
        return next(arm for arm in self.arm if arm.name == name)


class Primary(Table):
    """The one comparison that the study decides; all others are secondary.

    Attributes:
        block: None for the first block.
        arm, against: the difference is arm - against.
        margin: of equivalence, in the unit of the metric, above 0; None takes it from the tuning
            runs, see ``margin.py``.
    """

    block: str | None = None
    arm: str
    against: str
    margin: Annotated[Finite, Field(gt=0)] | None
