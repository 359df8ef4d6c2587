"""Scikit-learn's handwritten digits, which need no download."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from dualadam.errors import MissingExtraError
from dualadam.tasks.images.entry import ImageEntry
from dualadam.tasks.images.task import ImageTask
from dualadam.tasks.protocol import FineTuning, LoadOptions, Split
from dualadam.tasks.splits import check_classes, split_generator, stratified_indices

NUM_TRAIN, NUM_VALIDATION = 1078, 270  # 60 and 15 % of the 1,797 images


@dataclass(frozen=True, kw_only=True)
class DigitsEntry(ImageEntry):
    """The digits come with scikit-learn and are split at random."""

    def check(self, data: str | None, language: FineTuning | None) -> tuple[str, ...]:
        """Check that scikit-learn is installed."""
        try:
            import sklearn  # noqa: F401
        except ImportError as error:
            raise MissingExtraError(
                "The digits need scikit-learn: pip install 'dualadam[bench]'."
            ) from error
        return ()

    def load(self, options: LoadOptions) -> ImageTask:
        """Return the digits in three splits."""
        self.check(options.data, options.language)
        from sklearn.datasets import load_digits

        bunch = load_digits()
        # the largest value is 16; 16 * 15.9375 = 255
        images = torch.from_numpy((bunch.images * 15.9375).astype(np.uint8))[:, None]
        labels = torch.from_numpy(bunch.target).long()
        order = torch.randperm(len(labels), generator=split_generator())
        index: dict[Split, torch.Tensor] = {
            "train": order[:NUM_TRAIN],
            "validation": order[NUM_TRAIN : NUM_TRAIN + NUM_VALIDATION],
            "test": order[NUM_TRAIN + NUM_VALIDATION :],
        }
        if options.subset is not None:
            train = index["train"]
            chosen = stratified_indices(labels[train], options.subset, split_generator())
            index["train"] = train[chosen]
        check_classes(labels[index["train"]], [str(k) for k in range(10)], self.name)
        return ImageTask(
            {split: images[chosen] for split, chosen in index.items()},
            {split: labels[chosen] for split, chosen in index.items()},
            10,
            options.device,
            options.precision,
        )


DIGITS = DigitsEntry(
    name="digits",
    summary="1,797 handwritten digits, grey 8x8, 10 classes (inside scikit-learn)",
    models=("small-cnn",),
    num_train=NUM_TRAIN,
    shape=(1, 8, 8),
    num_classes=10,
)
