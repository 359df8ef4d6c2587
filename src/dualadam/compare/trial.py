"""What a training function of the user's own gets: one run of one arm. Needs torch alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, SupportsFloat

from torch import Tensor, nn
from torch.optim import Optimizer

from dualadam.compare.measures import diagnose_all
from dualadam.compare.optimizers import decay_of, optimizer_of
from dualadam.compare.run import AppliedDecay, CurvePoint, DiagnosisPoint, Run, finite_or_none
from dualadam.compare.shadowing import Shadow
from dualadam.compare.training import follow
from dualadam.errors import InvalidTypeError, InvalidValueError
from dualadam.optim import DualAdam, InvAdam, decay_groups


class DivergedError(RuntimeError):
    """The loss or a score is not finite. It ends a training function; its run is recorded."""


@dataclass(frozen=True)
class TrialScores:
    """What a training function returns; made by ``Trial.scores``."""

    validation: float
    test: float | None


class Trial:
    """One run: the arm with its settings, and where the function leaves its results.

    Attributes:
        seed: of the initial weights and the order of the data. torch, NumPy and Python are seeded
            with it before the function is called.
        settings: of the arm at this point, such as lr and switch_rate.
        steps: of the training, as the spec says; None where it does not.
        device: where the model should live.
        phase: "tune" or "judge".

    Example:
        >>> def train(run):
        ...     model = nn.Linear(1, 1)
        ...     optimizer = run.optimizer(model)
        ...     for step in range(1, run.steps + 1):
        ...         loss = (model(torch.ones(4, 1)) - 2).square().mean()
        ...         optimizer.zero_grad()
        ...         loss.backward()
        ...         optimizer.step()
        ...         run.log(step, loss=loss)
        ...     return run.scores(validation=-loss.item(), test=lambda: -loss.item())
    """

    def __init__(self, run: Run, device: str = "cpu") -> None:
        self.run = run
        self.seed, self.settings, self.steps = run.seed, dict(run.settings), run.steps
        self.device, self.phase = device, run.phase
        self.optimizers: list[Optimizer] = []
        self.decay: AppliedDecay | None = None
        self.shadow: Shadow | None = None
        self.num_steps, self.diverged = 0, False
        self.curve: list[CurvePoint] = []
        self.diagnosis: list[DiagnosisPoint] = []

    @property
    def lr(self) -> float:
        """The learning rate of this point.

        Raises:
            InvalidValueError: the arm has no lr.
        """
        if "lr" not in self.settings:
            raise InvalidValueError(f"the arm {self.run.arm!r} must set lr, in args or in tune.")
        return float(self.settings["lr"])

    def optimizer(self, params: nn.Module | Iterable[Any]) -> Optimizer:
        """Return the arm's optimizer, an ordinary torch optimizer.

        Args:
            params: a model, whose parameters are grouped by ``decay_groups``, or parameters or
                groups as torch takes them.
        """
        run = self.run
        groups = decay_groups(params, run.weight_decay) if isinstance(params, nn.Module) else params
        made = optimizer_of(run, groups)
        if not self.optimizers:
            self.decay = decay_of(run.optimizer, made)
            self.shadow = follow(run, made)
            made.register_step_post_hook(self._count)
        self.optimizers.append(made)
        return made

    def _count(self, *_: Any) -> None:
        self.num_steps += 1

    def log(
        self,
        step: int,
        *,
        loss: SupportsFloat | None = None,
        validation: SupportsFloat | None = None,
    ) -> None:
        """Record a point of the learning curve.

        Args:
            step: t = 1, 2, ...
            loss: training loss; a run whose loss is not finite ends here as diverged.
            validation: score on the validation split.
        """
        train_loss, score = _number("loss", loss), _number("validation", validation)
        self._end_if_diverged(train_loss, "loss")
        if self.phase == "tune":
            return
        self.curve.append(CurvePoint(int(step), train_loss, finite_or_none(score), None))
        for optimizer in self.optimizers[:1]:
            if isinstance(optimizer, DualAdam | InvAdam) and self.num_steps:
                self.diagnosis.append(diagnose_all(optimizer, int(step)))

    def scores(
        self,
        *,
        validation: SupportsFloat,
        test: Callable[[], SupportsFloat] | SupportsFloat | None = None,
    ) -> TrialScores:
        """Return the scores of the run, in the metric of the study.

        Args:
            validation: decides between settings.
            test: a function, called in judged runs alone, so that tuning cannot see it; or a
                number. None: judged runs are scored on ``validation``, and the report says so.
        """
        score = _number("validation", validation)
        assert score is not None
        self._end_if_diverged(score, "validation score")
        if self.phase == "tune" or test is None:
            return TrialScores(score, None)
        test_score = _number("test", test() if callable(test) else test)
        self._end_if_diverged(test_score, "test score")
        return TrialScores(score, test_score)

    def _end_if_diverged(self, value: float | None, what: str) -> None:
        if value is not None and not math.isfinite(value):
            self.diverged = True
            raise DivergedError(f"The {what} is {value}; the run ends here as diverged.")


def _number(name: str, value: SupportsFloat | None) -> float | None:
    if value is None:
        return None
    try:
        return float(value.detach() if isinstance(value, Tensor) else value)
    except (TypeError, ValueError, RuntimeError) as error:
        raise InvalidTypeError(f"{name} must be one number, got {value!r}.") from error
