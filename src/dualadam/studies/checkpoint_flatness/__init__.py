"""The flatness of a saved model on its task's training data."""

from dualadam.studies.checkpoint_flatness.checkpoint import Checkpoint, load_checkpoint
from dualadam.studies.checkpoint_flatness.figure import draw_slices, draw_spectrum
from dualadam.studies.checkpoint_flatness.measure import (
    CheckpointFlatness,
    measure_all,
    measure_checkpoint,
)
from dualadam.studies.checkpoint_flatness.measures import FlatnessMeasures, FlatnessSettings
from dualadam.studies.checkpoint_flatness.optimizer import SavedOptimizer
from dualadam.studies.checkpoint_flatness.slices import LossSlices

__all__ = [
    "Checkpoint",
    "CheckpointFlatness",
    "FlatnessMeasures",
    "FlatnessSettings",
    "LossSlices",
    "SavedOptimizer",
    "draw_slices",
    "draw_spectrum",
    "load_checkpoint",
    "measure_all",
    "measure_checkpoint",
]
