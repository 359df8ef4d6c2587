"""What is compared, and how the winner is decided: one TOML file, read and checked whole before any training."""

from __future__ import annotations

import math
import warnings
from typing import Annotated, Any, Literal, NoReturn

from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from dualadam.compare.optimizers import OPTIMIZERS, find_entry, take_a_step
from dualadam.compare.spec_text import nearest
from dualadam.optim import DualAdam, InvAdam
from dualadam.tasks import TASKS, FineTuning, Metric


def _refuse(message: str, *at: str | int) -> NoReturn:
    """Refuse a value; ``at`` is its place below the model that is being checked."""
    raise PydanticCustomError("spec", "{text}", {"text": message, "at": list(at)})


def _range(bounds: list[float]) -> list[float]:
    if len(bounds) != 2:
        _refuse(f"must be a range [low, high], got {bounds}")
    if not 0 < bounds[0] < bounds[1]:
        _refuse(
            f"must be a range [low, high] with 0 < low < high (it is sampled on a logarithmic scale), got {bounds}"
        )
    return bounds


def _plain(value: object) -> object:
    finite = isinstance(value, int | float) and math.isfinite(value) and abs(value) <= 1e12
    if not (
        finite or isinstance(value, str) or (isinstance(value, list) and all(map(_plain, value)))
    ):
        _refuse(
            f"must be true, false, a string, a finite number up to 1e12 or a list of these, got {value!r}"
        )
    return value


Finite = Annotated[float, Field(allow_inf_nan=False, le=1e12, ge=-1e12)]
Range = Annotated[list[Finite], AfterValidator(_range)]
Plain = Annotated[Any, AfterValidator(_plain)]
Name = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^\x00-\x1f|<>]+$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Arm(_Strict):
    """One optimizer with what is fixed and what is tuned."""

    name: Name
    optimizer: Annotated[str, Field(validation_alias=AliasChoices("optimizer", "class"))]
    args: dict[str, Plain] = {}
    tune: dict[str, Range] = {}
    loss_scale: Annotated[Finite, Field(gt=0)] = 1.0
    schedule: Literal["constant", "linear", "cosine"] | None = None  # None: the spec's

    @field_validator("optimizer")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            find_entry(name)
        except ValueError as error:
            sentence = str(error).removesuffix(".")
            _refuse(
                sentence if name.rpartition(".")[0] else f"{sentence}; {nearest(name, OPTIMIZERS)}"
            )
        return name

    @model_validator(mode="after")
    def _arguments_fit(self) -> Arm:
        entry = find_entry(self.optimizer)
        for place in ("args", "tune"):
            for key in getattr(self, place):
                if key == "weight_decay":
                    _refuse(
                        "weight_decay belongs to the block: all arms of a block share it",
                        place,
                        key,
                    )
                if key not in entry.arguments():
                    _refuse(
                        f"{self.optimizer} takes no argument {key!r}; {nearest(key, entry.arguments())}",
                        place,
                        key,
                    )
        if both := set(self.args) & set(self.tune):
            _refuse(f"{min(both)!r} is fixed by args and tuned: choose one", "tune", min(both))
        if entry.warmup and "switch_rate" not in self.args | self.tune:
            _refuse(
                f"{self.optimizer} needs a switch_rate, in args or in tune: its warm-up lasts 1 / switch_rate steps",
                "optimizer",
            )
        fixed = self.args.get("switch_rate", 1.0)
        if entry.warmup and not (isinstance(fixed, int | float) and 0 < fixed <= 1):
            _refuse(f"must be in (0, 1] for a warm-up, got {fixed!r}", "args", "switch_rate")
        for end in (0, 1):
            settings = {**self.args, **{k: r[end] for k, r in self.tune.items()}}
            try:  # the class's own checks, of which some come with the first step, before anything trains
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    take_a_step(self.optimizer, settings)
            except (
                Exception
            ) as error:  # whatever a class of the reader's own raises is a reason to refuse
                _refuse(
                    f"{self.optimizer} refuses {settings}: {error}", "tune" if self.tune else "args"
                )
            if entry.warmup and settings["switch_rate"] > 1:
                _refuse(
                    f"must stay in (0, 1], got {self.tune['switch_rate']}", "tune", "switch_rate"
                )
        return self


class Block(_Strict):
    """Arms that share a weight decay. Arms of different blocks are never compared."""

    name: Name = "all arms"
    weight_decay: Annotated[Finite, Field(ge=0)] = 0.0
    arm: Annotated[list[Arm], Field(min_length=1, max_length=100)]

    @model_validator(mode="after")
    def _names_differ(self) -> Block:
        for index, arm in enumerate(self.arm):
            if arm.name in [a.name for a in self.arm[:index]]:
                _refuse(
                    f"must differ from the other arms of the block, got {arm.name!r} again",
                    "arm",
                    index,
                    "name",
                )
        return self

    def find(self, name: str) -> Arm:
        """Return the arm of this name."""
        return next(arm for arm in self.arm if arm.name == name)


class Language(_Strict):
    """How a pretrained language model is trained; the fields of ``tasks.FineTuning``, which says what each is."""

    parameters: Annotated[str, Field(pattern=r"^(full|lora|last-[1-9][0-9]?)$")] = "full"
    max_length: Annotated[int, Field(ge=4, le=10**6)] = 512
    dtype: Literal["float32", "bfloat16"] = "float32"
    lora_rank: Annotated[int, Field(ge=1, le=4096)] = 8
    lora_alpha: Annotated[Finite, Field(gt=0)] = 16.0
    gradient_checkpointing: bool = False
    packed: bool = False
    max_new_tokens: Annotated[int, Field(ge=1, le=10**5)] = 256


class Primary(_Strict):
    """The one comparison that the study decides; all others are secondary."""

    block: str | None = None  # None: the first block
    arm: str
    against: str
    margin: Annotated[
        Finite, Field(gt=0)
    ]  # differences within it count as none, in the metric's unit


class Spec(_Strict):
    """A study. See ``load_spec``."""

    name: Annotated[
        str, Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    ]
    title: Annotated[str, Field(max_length=200)] = ""
    demonstration: bool = False  # too small for a verdict: the report says so instead
    smoke: bool = False  # only shows that everything runs; see ``smoke_test``
    task: str
    model: str
    subset: Annotated[int, Field(ge=1, le=10**9)] | None = None
    epochs: Annotated[int, Field(ge=1, le=100_000)] | None = None
    steps: Annotated[int, Field(ge=1, le=10**9)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=10**6)]
    accumulate: Annotated[int, Field(ge=1, le=10**6)] = (
        1  # parts that a batch's gradient is summed over, for less memory
    )
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    final_fraction: Annotated[Finite, Field(ge=0, le=1)] = 0.001
    metric: str | None = None  # None: the task's first
    direction: Literal["higher", "lower"] | None = (
        None  # what is better; None: as the metric has it
    )
    precision: Literal["float32", "bfloat16"] = "float32"
    augment: bool = False
    flatness: bool = False  # measured at the end of every judged run
    evaluations: Annotated[int, Field(ge=1, le=1000)] = (
        20  # points of a judged run's learning curve
    )
    evaluate_at_most: Annotated[int, Field(ge=1, le=10**9)] | None = (
        None  # examples of the validation and test splits; None: all
    )
    language: Language | None = None  # for language tasks; None: the defaults
    points: Annotated[int, Field(ge=0, le=10_000)]  # settings tried per arm; 0: every arm is fixed
    tuning_seeds: Annotated[int, Field(ge=1, le=1000)] = 1
    sampler_seed: Annotated[int, Field(ge=0, le=2**31)] = 0
    seeds: Annotated[int, Field(ge=2, le=10_000)]  # paired, judged on the test split
    primary: Primary
    block: Annotated[list[Block], Field(min_length=1, max_length=20)]

    @field_validator("task")
    @classmethod
    def _task_known(cls, task: str) -> str:
        if task not in TASKS:
            _refuse(f"is not a task of the comparison, got {task!r}; {nearest(task, TASKS)}")
        return task

    @model_validator(mode="after")
    def _whole(self) -> Spec:
        entry = TASKS[self.task]
        if not entry.takes(self.model):
            other = " (a folder or a name on the hub has a slash)" if entry.language else ""
            _refuse(
                f"is not a model of the task {self.task!r}, got {self.model!r}; {nearest(self.model, entry.models)}{other}",
                "model",
            )
        self._language_fits()
        if self.accumulate > self.batch_size:
            _refuse(
                f"must be at most batch_size, {self.batch_size}, got {self.accumulate}",
                "accumulate",
            )
        if self.metric is not None and self.metric not in entry.metrics:
            _refuse(
                f"is not a metric of the task {self.task!r}, got {self.metric!r}; {nearest(self.metric, entry.metrics)}",
                "metric",
            )
        better = "higher" if self.judged_by[1].higher_is_better else "lower"
        if self.direction not in (None, better):
            _refuse(
                f"must be {better!r} for {self.judged_by[0]}, got {self.direction!r}", "direction"
            )
        if (self.epochs is None) == (self.steps is None):
            _refuse("give either epochs or steps", "epochs")
        if self.subset and entry.num_train and self.subset > entry.num_train:
            _refuse(
                f"must be at most the {entry.num_train} training examples of {self.task!r}, got {self.subset}",
                "subset",
            )
        if entry.steps_per_epoch(self.batch_size, self.subset) == 0:
            _refuse(
                f"must be at most the number of training examples, {self.subset or entry.num_train}, got {self.batch_size}",
                "batch_size",
            )
        names = [b.name for b in self.block]
        for index, block in enumerate(self.block):
            if block.name in names[:index]:
                _refuse(
                    f"must differ from the other blocks, got {block.name!r} again",
                    "block",
                    index,
                    "name",
                )
            for k, arm in enumerate(block.arm):
                if bool(arm.tune) != (self.points > 0):
                    hint = (
                        f"points = {self.points}: give it a range in tune"
                        if self.points
                        else "points = 0: fix it in args"
                    )
                    _refuse(
                        f"every arm gets the same number of points, and {arm.name!r} does not fit {hint}",
                        "block",
                        index,
                        "arm",
                        k,
                    )
        if self.primary.block is not None and self.primary.block not in names:
            _refuse(
                f"is not a block, got {self.primary.block!r}; {nearest(self.primary.block, names)}",
                "primary",
                "block",
            )
        arms = [arm.name for arm in self.primary_block.arm]
        for place in ("arm", "against"):
            if (value := getattr(self.primary, place)) not in arms:
                _refuse(
                    f"is not an arm of the block {self.primary_block.name!r}, got {value!r}; {nearest(value, arms)}",
                    "primary",
                    place,
                )
        if self.primary.arm == self.primary.against:
            _refuse(
                f"must differ from primary.arm, got {self.primary.against!r} twice",
                "primary",
                "against",
            )
        return self

    def _language_fits(self) -> None:
        """Refuse what a language task has no use for, and its table for other tasks."""
        kind, language = TASKS[self.task].language, self.language
        if kind is None:
            if language is not None:
                _refuse(f"is for language tasks, and {self.task!r} is none", "language")
            return
        if self.augment:
            _refuse(f"must be false: {self.task!r} has no augmentation", "augment")
        if language and language.packed and kind == "classification":
            _refuse("must be false for classification: a row has one class", "language", "packed")
        if language and language.dtype == "bfloat16" and self.flatness:
            _refuse(
                "must be false for bfloat16 parameters, which are too coarse for second derivatives",
                "flatness",
            )

    @property
    def fine_tuning(self) -> FineTuning | None:
        """How a language model is trained; None for other tasks."""
        if TASKS[self.task].language is None:
            return None
        return FineTuning(model=self.model, **(self.language or Language()).model_dump())

    def smoke_test(self, device: str = "cpu") -> Spec:
        """Return a study of two steps with the same task and model, of the two arms that are compared: it shows only that they run.

        On a CPU it is float32: few CPUs multiply in bfloat16, the others take many times as long.

        Example:
            >>> from dualadam.compare.spec_file import load_spec
            >>> small = load_spec("digits").smoke_test()
            >>> small.name, small.steps, small.points, small.seeds, len(small.block[0].arm)
            ('digits-smoke', 2, 1, 2, 2)
        """
        changes: dict[str, Any] = {
            "name": f"{self.name[:70]}-smoke",
            "title": f"Smoke test of {(self.title or self.name)[:180]}",
        }
        changes |= {
            "smoke": True,
            "demonstration": True,
            "epochs": None,
            "steps": 2,
            "batch_size": min(self.batch_size, 2),
        }
        changes |= {
            "accumulate": min(self.accumulate, 2),
            "points": min(self.points, 1),
            "tuning_seeds": 1,
            "seeds": 2,
        }
        changes |= {"precision": "float32"} if device == "cpu" else {}
        compared = [
            arm
            for arm in self.primary_block.arm
            if arm.name in (self.primary.arm, self.primary.against)
        ]
        changes |= {
            "evaluations": 1,
            "evaluate_at_most": 4,
            "block": [self.primary_block.model_copy(update={"arm": compared})],
        }
        if self.language:
            changes["language"] = self.language.model_copy(
                update={"max_new_tokens": min(self.language.max_new_tokens, 16)}
            )
        return self.model_copy(update=changes)

    @property
    def primary_block(self) -> Block:
        """The block of the primary comparison."""
        return next((b for b in self.block if b.name == self.primary.block), self.block[0])

    @property
    def judged_by(self) -> tuple[str, Metric]:
        """The metric of the study: its name and what it is."""
        metrics = TASKS[self.task].metrics
        name = self.metric or next(iter(metrics))
        return name, metrics[name]

    @property
    def total_steps(self) -> int | None:
        """Steps of one run; None where only the data tells."""
        per_epoch = TASKS[self.task].steps_per_epoch(self.batch_size, self.subset)
        return self.steps or (per_epoch * self.epochs if per_epoch and self.epochs else None)

    def warnings(self) -> list[str]:
        """Return what is allowed but probably not meant, a sentence each."""
        found: list[str] = []
        if self.smoke:  # nothing is meant by its numbers
            return found
        coarse = self.language and self.language.dtype == "bfloat16"
        if (
            self.language
            and self.language.parameters == "lora"
            and TASKS[self.task].language == "generation"
        ):
            coarse = False  # adapters are float32, and nothing else is trained
        for block in self.block:
            for arm in block.arm:
                rates = arm.tune.get("switch_rate") or [
                    arm.args[k] for k in ("switch_rate",) if k in arm.args
                ]
                slowest = min(rates, default=None)
                if slowest and self.total_steps and slowest * self.total_steps < 1:
                    found.append(
                        f"{arm.name!r}: switch_rate {slowest:g} needs {1 / slowest:,.0f} steps for its hand-over, and a run has "
                        f"{self.total_steps:,}: it would end unfinished. switch_rate_for({self.total_steps}) gives one that fits."
                    )
                entry = find_entry(arm.optimizer)
                if block.weight_decay and not entry.decoupled:
                    found.append(
                        f"{arm.name!r}: its weight decay is coupled (L2), that of the other arms is decoupled."
                        if entry.decoupled is False
                        else f"{arm.name!r}: its weight decay is as {arm.optimizer} does it, which may be coupled (L2)."
                    )
                if coarse and not issubclass(entry.cls, DualAdam | InvAdam):
                    found.append(
                        f"{arm.name!r}: torch's classes keep bfloat16 parameters' state in bfloat16, DualAdam and InvAdam in float32: "
                        "unlike arithmetic is part of the difference."
                    )
        return found
