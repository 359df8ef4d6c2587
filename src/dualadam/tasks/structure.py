"""Batches of any structure: tensors in tuples, lists, named tuples and dictionaries."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from operator import itemgetter
from typing import Any

from torch import Tensor


def tensors_of(batch: Any) -> Iterator[Tensor]:
    """Yield the tensors of a batch, depth first."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, Mapping):
        for value in batch.values():
            yield from tensors_of(value)
    elif isinstance(batch, list | tuple):
        for value in batch:
            yield from tensors_of(value)


def map_tensors(batch: Any, function: Callable[[Tensor], Any]) -> Any:
    """Return a batch of the same structure with every tensor replaced; other values stay.

    Example:
        >>> import torch
        >>> map_tensors({"x": torch.ones(2), "name": "a"}, lambda x: x.tolist())
        {'x': [1.0, 1.0], 'name': 'a'}
    """
    if isinstance(batch, Tensor):
        return function(batch)
    if isinstance(batch, Mapping):
        return {key: map_tensors(value, function) for key, value in batch.items()}
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):  # a named tuple
        return type(batch)(*(map_tensors(value, function) for value in batch))
    if isinstance(batch, list | tuple):
        return type(batch)(map_tensors(value, function) for value in batch)
    return batch


def num_rows(batch: Any) -> int:
    """Return the number of rows that the tensors of a batch share.

    Raises:
        ValueError: there is no tensor with rows, or their numbers differ.
    """
    rows = {len(tensor) if tensor.dim() else 0 for tensor in tensors_of(batch)}
    if len(rows) != 1 or 0 in rows:
        raise ValueError(f"the tensors of a batch must share a number of rows, got {sorted(rows)}")
    return rows.pop()


def split_rows(batch: Any, parts: int) -> list[Any]:
    """Cut a batch by rows into at most ``parts`` batches of the same structure.

    Example:
        >>> import torch
        >>> split_rows((torch.arange(5), torch.arange(5) * 10), 2)
        [(tensor([0, 1, 2]), tensor([ 0, 10, 20])), (tensor([3, 4]), tensor([30, 40]))]
    """
    rows = num_rows(batch)
    size = -(-rows // parts)
    return [
        map_tensors(batch, itemgetter(slice(first, first + size))) for first in range(0, rows, size)
    ]
