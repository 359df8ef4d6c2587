"""Batches of any structure: tensors in tuples, lists, named tuples and mappings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from dualadam.errors import InvalidValueError


def num_rows(batch: Any) -> int:
    """Return the first dimension of the first tensor in a batch.

    Raises:
        InvalidValueError: the batch holds no tensor, or its first tensor is 0-d.
    """
    tensor = _first_tensor(batch)
    if tensor is None or tensor.ndim == 0:
        raise InvalidValueError(
            "num_examples must be given for batches that do not start with a tensor of examples, "
            f"got {type(batch).__name__}."
        )
    return tensor.shape[0]


def convert(batch: Any, dtype: torch.dtype) -> Any:
    """Return the batch with its floating-point tensors converted to a dtype."""
    if isinstance(batch, Tensor):
        return batch.to(dtype) if batch.is_floating_point() else batch
    if isinstance(batch, Mapping):
        return {key: convert(value, dtype) for key, value in batch.items()}
    if isinstance(batch, list | tuple):
        items = [convert(item, dtype) for item in batch]
        is_named_tuple = hasattr(batch, "_fields")
        return type(batch)(*items) if is_named_tuple else type(batch)(items)
    return batch


def _first_tensor(item: Any) -> Tensor | None:
    if isinstance(item, Tensor):
        return item
    return next((found for found in map(_first_tensor, _items(item)) if found is not None), None)


def _items(batch: Any) -> Iterable[Any]:
    if isinstance(batch, Mapping):
        return batch.values()
    return batch if isinstance(batch, list | tuple) else ()
