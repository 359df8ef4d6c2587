"""The shape of a spec: its keys, their types and ranges. ``check.py`` checks whether it can run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    Field,
    PrivateAttr,
    ValidationInfo,
    model_validator,
)

from dualadam.compare.extension import Extension
from dualadam.compare.loop_entry import LoopEntry
from dualadam.compare.run import OwnLoop
from dualadam.compare.spec_tables import Arm, Block, Primary, Table
from dualadam.compare.spec_text import nearest
from dualadam.compare.spec_values import (
    FileName,
    Finite,
    Language,
    Schedule,
    refuse,
)
from dualadam.tasks import TASKS, FineTuning, Metric, TaskEntry

# what the loop of the package decides, and a loop of the user's own decides itself
LOOP_KEYS = (
    "model",
    "subset",
    "epochs",
    "batch_size",
    "accumulate",
    "schedule",
    "final_fraction",
    "precision",
    "augment",
    "flatness",
    "evaluations",
    "evaluate_at_most",
    "language",
    "fused",
)


TUNING_SEED = 10_000  # tuning uses the seeds from here on, judged runs those below

# what a key meant in the ``spec.json`` of a study from before there was the key
OLDER = {"decay": "times lr", "sampler": "halton", "interval": "judged seeds", "fused": False}
RECORDED = {"recorded": True}  # the context in which pydantic reads the spec of a study's folder


def older(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the keys of the spec that an older ``spec.json`` holds meant then."""
    own_loop = table.get("train") is not None
    return {key: value for key, value in OLDER.items() if not (own_loop and key in LOOP_KEYS)}


class JudgedBy(NamedTuple):
    """The metric of a study."""

    name: str
    metric: Metric


class Spec(Table):
    """A study.

    Attributes:
        name: letters, digits and ``._-``; also the default output folder.
        title: heading of the report.
        demonstration: too small for a verdict; the report gives none.
        smoke: made by ``smoke_test``.
        task: what is trained: a name of ``dualadam list``, or "FILE.py:FUNCTION" for a function
            of the user's own that returns a `Problem`.
        model: a name of ``dualadam list``; left out for a task of the user's own.
        train: instead of ``task``: "FILE.py:FUNCTION" for a training function of the user's own, or
            "command".
        command: with ``train = "command"``, the command line of a run.
        timeout: seconds after which a run of ``train`` fails.
        unit, worst: of the score that ``train`` returns; worst is that of a diverged run.
        subset: number of training examples to keep; None keeps all.
        epochs, steps: length of a run; exactly one is set.
        batch_size: examples per step.
        accumulate: parts that the gradient of a batch is summed over, to save memory.
        schedule: of the learning rate.
        final_fraction: of the learning rate at the end of the schedule, [0, 1].
        metric: None takes the task's first.
        direction: which scores are better; None takes the metric's.
        precision: "bfloat16" for autocast of the forward pass.
        augment: whether training images are augmented.
        flatness: whether flatness is measured at the end of every judged run.
        shadow: whether a shadow Adam follows every judged run, see ``shadowing.py``.
        evaluations: points of a judged run's learning curve.
        evaluate_at_most: examples of the validation and the test split; None for all.
        fused: whether optimizers that have a fused step take it, on a CPU, see ``optimizers.py``.
        language: for language tasks, the fields of ``FineTuning`` without the model.
        decay: "independent": every arm of a block gets the same decay per step, see ``decay.py``;
            "times lr": every arm gets the block's weight_decay, and a decay that grows with lr.
        points: settings tried per arm; 0 if every arm is fixed.
        tuning_seeds: runs per point.
        sampler: the sequence of points, see ``points.py``.
        sampler_seed: of the sequence of points.
        extended: ranges that were widened after the first points were tuned, see ``extend.py``.
        seeds: judged runs per arm, paired.
        first_seed: of the judged runs; a replication judges on seeds that no study has used.
        interval: what decides: the judged seeds with the noise of the choice of settings, which
            needs at least 3 tuning seeds, or the judged seeds alone.
        primary: the comparison that the study decides.
        block: the arms.
    """

    name: FileName
    title: Annotated[str, Field(max_length=200)] = ""
    train: str | None = None
    command: str | None = None
    timeout: Annotated[Finite, Field(gt=0)] | None = None
    unit: str = ""
    worst: Finite | None = None
    demonstration: bool = False
    smoke: bool = False
    task: str
    model: str = ""
    subset: Annotated[int, Field(ge=1, le=10**9)] | None = None
    epochs: Annotated[int, Field(ge=1, le=100_000)] | None = None
    steps: Annotated[int, Field(ge=1, le=10**9)] | None = None
    batch_size: Annotated[int, Field(ge=1, le=10**6)]
    accumulate: Annotated[int, Field(ge=1, le=10**6)] = 1
    schedule: Schedule = "cosine"
    final_fraction: Annotated[Finite, Field(ge=0, le=1)] = 0.001
    metric: str | None = None
    direction: Literal["higher", "lower"] | None = None
    precision: Literal["float32", "bfloat16"] = "float32"
    augment: bool = False
    flatness: bool = False
    shadow: bool = False
    evaluations: Annotated[int, Field(ge=1, le=1000)] = 20
    evaluate_at_most: Annotated[int, Field(ge=1, le=10**9)] | None = None
    fused: bool = True
    language: Language | None = None
    decay: Literal["independent", "times lr"] = "independent"
    points: Annotated[int, Field(ge=0, le=10_000)]
    tuning_seeds: Annotated[int, Field(ge=1, le=1000)] = 1
    sampler: Literal["sobol", "halton"] = "sobol"
    extended: list[Extension] = Field(default=[])
    sampler_seed: Annotated[int, Field(ge=0, le=2**31)] = 0
    seeds: Annotated[int, Field(ge=2, le=10_000)]
    first_seed: Annotated[int, Field(ge=0, lt=TUNING_SEED)] = 0
    interval: Literal["with choice", "judged seeds"] = "with choice"
    primary: Primary
    block: Annotated[list[Block], Field(min_length=1, max_length=20)]
    _entry: TaskEntry | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _older_study_keeps_its_meaning(cls, table: Any, info: ValidationInfo) -> Any:
        """Fill in the keys that a recorded spec may lack."""
        recorded = isinstance(table, dict) and info.context == RECORDED
        return older(table) | table if recorded else table

    @model_validator(mode="before")
    @classmethod
    def _own_loop_is_the_task(cls, table: Any) -> Any:
        """Take the function's name as the task; a loop of the user's own has no batch size."""
        if not isinstance(table, dict) or table.get("train") is None:
            return table
        if table.get("task", table["train"]) != table["train"]:
            refuse("must be left out: train says what is trained", "task")
        return {"batch_size": 1, **table, "task": table["train"]}

    @model_validator(mode="after")
    def _own_loop_fits(self) -> Spec:
        own = ("command", "timeout", "worst", "unit")
        if self.train is None:
            for key in own:
                if getattr(self, key):
                    refuse("must be left out: it belongs to train", key)
            return self
        if (self.train == "command") != (self.command is not None):
            refuse('must be given with train = "command", and only then', "command")
        if self.direction is None:
            refuse(
                'must be given with train: "higher" or "lower" scores are better; without a spec, '
                "--set direction=lower or higher",
                "direction",
            )
        if self.command is not None and self.shadow:
            refuse("must be false: a command makes its optimizer itself", "shadow")
        for key in LOOP_KEYS:
            if getattr(self, key) != type(self).model_fields[key].default and key != "batch_size":
                refuse("must be left out: your own loop decides it", key)
        for i, block in enumerate(self.block):
            for k, arm in enumerate(block.arm):
                for key in ("loss_scale", "schedule"):
                    if getattr(arm, key) != Arm.model_fields[key].default:
                        place = ("block", i, "arm", k, key)
                        refuse("must be left out: your own loop decides it", *place)
        return self

    @model_validator(mode="after")
    def _lengths_fit(self) -> Spec:
        if self.train is not None:
            return self
        if (self.epochs is None) == (self.steps is None):
            refuse("or steps must be given, and not both", "epochs")
        if self.accumulate > self.batch_size:
            message = f"must be at most batch_size, {self.batch_size}, got {self.accumulate}"
            refuse(message, "accumulate")
        return self

    @model_validator(mode="after")
    def _judged_seeds_are_not_tuning_seeds(self) -> Spec:
        if self.first_seed + self.seeds > TUNING_SEED:
            highest = TUNING_SEED - self.seeds
            message = f"must be at most {highest:,} with seeds = {self.seeds:,}: tuning seeds begin"
            refuse(f"{message} at {TUNING_SEED:,}; got {self.first_seed:,}", "first_seed")
        return self

    @model_validator(mode="after")
    def _blocks_fit(self) -> Spec:
        names = [block.name for block in self.block]
        for index, block in enumerate(self.block):
            if block.name in names[:index]:
                message = f"must differ from the other blocks, got {block.name!r} again"
                refuse(message, "block", index, "name")
            for k, arm in enumerate(block.arm):
                if bool(arm.tune) == bool(self.points):
                    continue
                remedy = "give it a range in tune" if self.points else "fix it in args"
                message = f"{arm.name!r} does not fit points = {self.points}: {remedy}"
                refuse(message, "block", index, "arm", k)
        return self

    @model_validator(mode="after")
    def _extensions_fit(self) -> Spec:
        tuned = {name for block in self.block for arm in block.arm for name in arm.tune}
        for index, more in enumerate(self.extended):
            if more.setting not in tuned:
                message = f"must be a tuned setting, got {more.setting!r}"
                refuse(f"{message}; {nearest(more.setting, tuned)}", "extended", index, "setting")
        return self

    @model_validator(mode="after")
    def _primary_names_arms(self) -> Spec:
        primary, blocks = self.primary, [block.name for block in self.block]
        if primary.block is not None and primary.block not in blocks:
            hint = nearest(primary.block, blocks)
            refuse(f"must be a block, got {primary.block!r}; {hint}", "primary", "block")
        arms = [arm.name for arm in self.primary_block.arm]
        for key, name in (("arm", primary.arm), ("against", primary.against)):
            if name not in arms:
                where = f"must be an arm of the block {self.primary_block.name!r}"
                refuse(f"{where}, got {name!r}; {nearest(name, arms)}", "primary", key)
        if primary.arm == primary.against:
            message = f"must differ from primary.arm, got {primary.against!r} twice"
            refuse(message, "primary", "against")
        if primary.margin is None and self.points < 2:
            refuse("must be given where no arm is tuned at two points", "primary", "margin")
        return self

    @property
    def entry(self) -> TaskEntry:
        """What is known of the task: of a user's own what ``with_task`` was given."""
        if self._entry is None and self.train is not None:
            return LoopEntry.of(self.train, self.metric or "score", self._own_metric())
        return self._entry or TASKS[self.task]

    def _own_metric(self) -> Metric:
        higher = self.direction != "lower"
        worst = self.worst if self.worst is not None else (0.0 if higher else 1e9)
        return Metric(self.unit, higher_is_better=higher, worst=worst)

    @property
    def own_loop(self) -> OwnLoop | None:
        """How the user's own loop is run; None for the loop of the package."""
        return OwnLoop(self._own_metric().worst, self.command) if self.train else None

    def with_task(self, entry: TaskEntry) -> Spec:
        """Return the spec of a study whose task is the user's own."""
        spec = self.model_copy()
        spec._entry = entry
        return spec

    @property
    def primary_block(self) -> Block:
        """The block of the primary comparison."""
        return next((b for b in self.block if b.name == self.primary.block), self.block[0])

    @property
    def judged_seeds(self) -> range:
        """The seeds of the judged runs."""
        return range(self.first_seed, self.first_seed + self.seeds)

    @property
    def judged_by(self) -> JudgedBy:
        """The metric of the study."""
        metrics = self.entry.metrics
        name = self.metric or next(iter(metrics))
        return JudgedBy(name, metrics[name])

    @property
    def fine_tuning(self) -> FineTuning | None:
        """How a language model is trained; None for other tasks."""
        if self.entry.language is None:
            return None
        return FineTuning(model=self.model, **(self.language or {}))

    @property
    def num_points(self) -> int:
        """The points of every arm, with those of the extensions."""
        return self.points + sum(more.points for more in self.extended)

    @property
    def total_steps(self) -> int | None:
        """The steps of one run; None where the size of the data is not known."""
        per_epoch = self.entry.steps_per_epoch(self.batch_size, self.subset)
        return self.steps or (per_epoch * self.epochs if per_epoch and self.epochs else None)
