"""A run and its record: the schema of ``runs.jsonl``."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from dualadam.compare.shadow_result import ShadowResult
from dualadam.tasks import FineTuning

SCHEMA = 1  # version of the layout of a line of runs.jsonl; lines without the key are 1
Status = Literal["finished", "diverged"]
LATER = {"in_key": "unless default"}  # a knob added later: at its default it is left out of the key


@dataclass(frozen=True)
class OwnLoop:
    """A training by the user's own function or command."""

    worst: float  # the score of a run that diverged
    command: str | None = None


@dataclass(frozen=True)
class Run:
    """One training: all that decides its numbers, and nothing else."""

    phase: Literal["tune", "judge"]  # judged on the validation split, or on the test split
    block: str
    arm: str
    trial: int  # index of the tuned point
    seed: int  # of the initial weights, the order of the examples and their augmentation
    task: str
    metric: str
    model: str
    optimizer: str
    settings: dict[str, Any]  # lr, switch_rate and whatever else the spec fixes or tunes
    weight_decay: float
    epochs: int | None  # exactly one of epochs and steps is set
    steps: int | None
    batch_size: int
    schedule: str
    final_fraction: float
    precision: str = "float32"
    augment: bool = False
    subset: int | None = None
    loss_scale: float = 1.0
    flatness: bool = False  # measured at the end of a judged run
    # parts that the gradient of a batch is summed over
    accumulate: int = field(default=1, metadata=LATER)
    # points of the learning curve
    evaluations: int = field(default=20, metadata=LATER)
    # examples of the validation and of the test split; None for all
    evaluate_at_most: int | None = field(default=None, metadata=LATER)
    # for language tasks
    language: FineTuning | None = field(default=None, metadata=LATER)
    # whether LinearWarmup is put around the optimizer
    warmup: bool = field(default=False, metadata=LATER)
    # for a loop of the user's own; batch_size, schedule and precision then mean nothing
    own_loop: OwnLoop | None = field(default=None, metadata=LATER)
    # the learning rate at which weight_decay is meant; None for the run's own
    reference_lr: float | None = field(default=None, metadata=LATER)
    # whether a shadow follows the optimizer of a judged run
    shadow: bool = field(default=False, metadata=LATER)
    # whether optimizers that have a fused step take it
    fused: bool = field(default=False, metadata=LATER)

    @property
    def key(self) -> str:
        """The run as 16 hexadecimal digits: equal runs have equal keys on every machine."""
        later = {f.name: f.default for f in fields(self) if f.metadata == LATER}
        content = {k: v for k, v in self.to_json().items() if k not in later or v != later[k]}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def part_size(self) -> int:
        """Examples of one forward and backward pass: a batch, or its largest part."""
        return -(-self.batch_size // self.accumulate)

    @property
    def label(self) -> str:
        """A short name for a progress bar."""
        which = f"point {self.trial}" if self.phase == "tune" else f"seed {self.seed}"
        return f"{self.arm}, {which}"

    def to_json(self) -> dict[str, Any]:
        """Return the fields; ``language`` leaves out its model, which the run names itself."""
        content = asdict(self)
        if self.language:
            del content["language"]["model"]
        return content

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Run:
        """Return the run of a record."""
        language = content.get("language")
        tuned = FineTuning(model=content["model"], **language) if language else None
        own = content.get("own_loop")
        return cls(**{**content, "language": tuned, "own_loop": OwnLoop(**own) if own else None})


@dataclass(frozen=True)
class SplitScore:
    """How a run scored on one split. A diverged run has the metrics' worst values and no loss."""

    score: float  # the study's metric
    loss: float | None
    metrics: dict[str, float]


@dataclass(frozen=True)
class CurvePoint:
    """One point of a learning curve; score and loss are of the validation split."""

    step: int
    train_loss: float | None  # mean since the point before
    score: float | None
    loss: float | None


@dataclass(frozen=True)
class DiagnosisPoint:
    """What ``diagnose`` found during training, over all parameter groups."""

    step: int
    mixing_weight: float | None
    effective_weight: float | None
    second_moment_mean: float | None
    ratio: float | None  # norm of the inverse part over Adam's; None for InvAdam


@dataclass(frozen=True)
class Flatness:
    """Flatness of the training loss where a run ended; None where a measure does not exist."""

    top_eigenvalue: float | None
    sam_sharpness: float | None
    adaptive_sharpness: float | None


@dataclass(frozen=True)
class AppliedDecay:
    """The weight decay of a run's parameters, at the start of its schedule."""

    weight_decay: float | None  # None where the optimizer has no such argument
    per_step: float | None  # lr x weight_decay; None where the decay is part of the gradient (L2)


@dataclass(frozen=True)
class Record:
    """A finished run: one line of ``runs.jsonl``.

    Attributes:
        status: "diverged" where the loss became infinite or NaN.
        steps: taken until the end or the divergence.
        validation, test: the final scores; test is None for tuning runs.
        correct, num_test: which test examples were right, as the hexadecimal digits of
            ``numpy.packbits``, and how many there are; None where the metric has no such thing.
        curve, diagnosis: empty for tuning runs.
        data: a language task's counts and fingerprints.
        seconds_per_step: without evaluations.
        state_bytes: of the optimizer's state.
        peak_bytes: of the device, or of the worker process on a CPU; None where unknown.
        environment: see ``harness.environment``.
        decay: what the optimizer applied; None in older records, and where it is not known.
        shadow: the run as Adam with a schedule; None where it was not asked for.
        fused: whether the optimizer's step was fused; None in older records, and where it is not
            known.
    """

    run: Run
    status: Status
    steps: int
    validation: SplitScore
    test: SplitScore | None
    correct: str | None
    num_test: int | None
    curve: tuple[CurvePoint, ...]
    diagnosis: tuple[DiagnosisPoint, ...]
    flatness: Flatness | None
    data: dict[str, Any] | None
    seconds_per_step: float
    state_bytes: int
    peak_bytes: int | None
    environment: dict[str, Any]
    decay: AppliedDecay | None = None
    shadow: ShadowResult | None = None
    fused: bool | None = None

    @property
    def key(self) -> str:
        """The key of its run."""
        return self.run.key

    @property
    def diverged(self) -> bool:
        """Whether the run diverged."""
        return self.status == "diverged"

    def to_json(self) -> dict[str, Any]:
        """Return the line of ``runs.jsonl``. What a run does not have is left out."""
        content = {"schema": SCHEMA, "key": self.key} | asdict(self) | {"run": self.run.to_json()}
        kept = {k: v for k, v in content.items() if v is not None or k == "peak_bytes"}
        return {k: finite_or_none(v) for k, v in kept.items()}

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Record:
        """Return the record of a line.

        Raises:
            ValueError: the line's schema is newer than this version of dualadam.
        """
        if (schema := line.get("schema", 1)) > SCHEMA:
            raise ValueError(f"its schema is {schema}, this version of dualadam reads {SCHEMA}")
        return cls(
            run=Run.from_json(line["run"]),
            status=line["status"],
            steps=line["steps"],
            validation=SplitScore(**line["validation"]),
            test=SplitScore(**line["test"]) if "test" in line else None,
            correct=line.get("correct"),
            num_test=line.get("num_test"),
            curve=tuple(CurvePoint(**point) for point in line["curve"]),
            diagnosis=tuple(DiagnosisPoint(**point) for point in line["diagnosis"]),
            flatness=Flatness(**line["flatness"]) if line.get("flatness") else None,
            data=line.get("data"),
            seconds_per_step=line["seconds_per_step"],
            state_bytes=line["state_bytes"],
            peak_bytes=line["peak_bytes"],
            environment=line["environment"],
            decay=AppliedDecay(**line["decay"]) if line.get("decay") else None,
            shadow=ShadowResult.from_json(line["shadow"]) if line.get("shadow") else None,
            fused=line.get("fused"),
        )


def finite_or_none(value: Any) -> Any:
    """Return a value with None for every number that is not finite, which JSON cannot hold."""
    if isinstance(value, dict):
        return {k: finite_or_none(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [finite_or_none(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
