"""The callback for the Trainer of transformers, and for trainers derived from it, such as TRL's."""

from __future__ import annotations

from typing import Any

from dualadam.callbacks.watch import HandOverWatch
from dualadam.errors import InvalidTypeError, MissingExtraError

try:
    from transformers import Trainer, TrainerCallback
except ModuleNotFoundError as error:
    if error.name != "transformers":
        raise
    raise MissingExtraError(
        "dualadam.callbacks.transformers needs transformers: pip install transformers accelerate"
    ) from error

REMEDY = (
    'Give the Trainer optimizer_cls_and_kwargs=(DualAdam, {"lr": lr, "switch_rate": '
    "switch_rate_for(max_steps)}), or leave DiagnoseCallback out."
)

__all__ = ["DiagnoseCallback"]


class DiagnoseCallback(TrainerCallback):
    """Logs ``diagnose(optimizer)`` through ``trainer.log``, and warns of three mistakes.

    The numbers go wherever the Trainer reports to (``report_to``: TensorBoard, W&B, MLflow,
    trackio, ...), under names such as "dualadam/group0/ratio", and into
    ``trainer.state.log_history``. Numbers that are not finite are left out.

    It warns once if the inverse part exceeds 10 % of Adam's step, if lr rises during the
    hand-over, and if the training ends before the hand-over.

    Args:
        trainer: the Trainer, to which the callback is then added.
        every: steps between two diagnoses once the hand-over is over, at least 1.
        points_in_hand_over: least number of diagnoses during the hand-over, at least 1.

    Raises:
        InvalidTypeError: ``trainer`` is not a Trainer, or a number is not an integer; at the start
            of the training, its optimizer is neither a DualAdam nor an InvAdam.
        InvalidValueError: a number is below 1.

    Example::

        trainer = Trainer(model, arguments, train_dataset=rows, optimizer_cls_and_kwargs=...)
        trainer.add_callback(DiagnoseCallback(trainer))
        trainer.train()
    """

    def __init__(self, trainer: Any, every: int = 100, points_in_hand_over: int = 20) -> None:
        if not isinstance(trainer, Trainer):
            raise InvalidTypeError(
                f"trainer must be a Trainer of transformers, got {type(trainer).__name__}. "
                "Make the Trainer first, then trainer.add_callback(DiagnoseCallback(trainer))."
            )
        self._trainer = trainer
        self._watch = HandOverWatch(every, points_in_hand_over)

    def on_train_begin(self, args: Any, state: Any, control: Any, **of_trainer: Any) -> None:
        """Look for the optimizer, and warn if the training is shorter than the hand-over."""
        self._watch.begin(
            [self._trainer.optimizer],
            step=state.global_step,
            num_steps=state.max_steps,
            remedy=REMEDY,
            speaks=state.is_world_process_zero,
        )

    def on_step_end(self, args: Any, state: Any, control: Any, **of_trainer: Any) -> None:
        """Diagnose and log, if the step is due."""
        if self._watch.due(state.global_step):
            numbers = self._watch.look(state.global_step)
            self._trainer.log({f"dualadam/{key}": value for key, value in numbers.items()})

    def on_train_end(self, args: Any, state: Any, control: Any, **of_trainer: Any) -> None:
        """Warn if the training has ended within the hand-over."""
        self._watch.end()
