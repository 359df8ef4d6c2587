"""The callback for the Trainer of Lightning."""

from __future__ import annotations

import math
from typing import Any

from dualadam.callbacks.watch import HandOverWatch
from dualadam.errors import MissingExtraError

try:
    from lightning.pytorch import Callback
except ModuleNotFoundError as lightning_error:
    if lightning_error.name not in ("lightning", "lightning.pytorch"):
        raise
    try:
        from pytorch_lightning import Callback
    except ModuleNotFoundError as error:
        if error.name != "pytorch_lightning":
            raise
        raise MissingExtraError(
            "dualadam.callbacks.lightning needs Lightning: pip install lightning"
        ) from error

REMEDY = (
    "Return DualAdam(self.parameters(), switch_rate=switch_rate_for(max_steps)) from "
    "configure_optimizers, or leave DiagnoseCallback out."
)

__all__ = ["DiagnoseCallback"]


class DiagnoseCallback(Callback):
    """Logs ``diagnose(optimizer)`` to the loggers of the Trainer, and warns of three mistakes.

    The numbers go to every logger of the Trainer (TensorBoard, CSV, W&B, MLflow, ...), under names
    such as "dualadam/group0/ratio", at the step ``trainer.global_step``. Numbers that are not
    finite are left out. With several optimizers of this package the names begin with
    "dualadam/optimizer0/".

    It warns once if the inverse part exceeds 10 % of Adam's step, if lr rises during the
    hand-over, and if the training ends before the hand-over.

    Args:
        every: steps between two diagnoses once the hand-over is over, at least 1.
        points_in_hand_over: least number of diagnoses during the hand-over, at least 1.

    Raises:
        InvalidTypeError: a number is not an integer; at the start of the training, none of its
            optimizers is a DualAdam or an InvAdam.
        InvalidValueError: a number is below 1.

    Example::

        trainer = lightning.Trainer(max_steps=1000, callbacks=[DiagnoseCallback(every=50)])
    """

    def __init__(self, every: int = 100, points_in_hand_over: int = 20) -> None:
        self._watch = HandOverWatch(every, points_in_hand_over)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Look for the optimizers, and warn if the training is shorter than the hand-over."""
        # in manual optimization global_step counts the steps of all optimizers together
        automatic = pl_module.automatic_optimization
        self._watch.begin(
            trainer.optimizers,
            step=trainer.global_step,
            num_steps=trainer.estimated_stepping_batches if automatic else math.inf,
            remedy=REMEDY,
            speaks=trainer.is_global_zero,
        )

    def on_train_batch_end(self, trainer: Any, *of_batch: Any, **more: Any) -> None:
        """Diagnose and log, if the step is due; a batch that is accumulated has no step."""
        step = trainer.global_step
        if self._watch.due(step):
            numbers = {f"dualadam/{key}": value for key, value in self._watch.look(step).items()}
            for logger in trainer.loggers:
                logger.log_metrics(numbers, step=step)

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """Warn if the training has ended within the hand-over."""
        self._watch.end()
