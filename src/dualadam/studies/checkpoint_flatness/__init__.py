"""The flatness of a saved model on its task's training data."""

from dualadam.studies.checkpoint_flatness.checkpoint import Checkpoint, load_checkpoint
from dualadam.studies.checkpoint_flatness.figure import draw_spectrum
from dualadam.studies.checkpoint_flatness.measure import (
    CheckpointFlatness,
    FlatnessMeasures,
    FlatnessSettings,
    measure_all,
    measure_checkpoint,
)

__all__ = [
    "Checkpoint",
    "CheckpointFlatness",
    "FlatnessMeasures",
    "FlatnessSettings",
    "draw_spectrum",
    "load_checkpoint",
    "measure_all",
    "measure_checkpoint",
]
