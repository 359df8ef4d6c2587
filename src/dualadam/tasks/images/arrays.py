"""An image data set that fits into memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dualadam.tasks.files import damaged


@dataclass(frozen=True)
class ImageArrays:
    """Images uint8 (N, C, H, W) and labels int64 (N,) of a training set and a test set."""

    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]


def checked_labels(labels: Any, num_images: int, num_classes: int, file: Path) -> Tensor:
    """Return labels as int64 (num_images,).

    Raises:
        InvalidValueError: there is not one label per image, or a label is not a class.
    """
    try:
        result = torch.as_tensor(np.asarray(labels, dtype=np.int64))
    except (ValueError, TypeError, OverflowError) as error:
        raise damaged(file, f"labels that are not integers: {error}") from error
    if result.shape != (num_images,):
        raise damaged(file, f"labels of shape {tuple(result.shape)} for {num_images} images")
    if num_images and not 0 <= result.min() <= result.max() < num_classes:
        raise damaged(
            file, f"labels from {result.min()} to {result.max()} for {num_classes} classes"
        )
    return result
