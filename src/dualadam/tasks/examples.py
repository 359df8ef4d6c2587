"""The examples of one split of a problem, whatever form the user gave them in."""

from __future__ import annotations

import inspect
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import default_collate

from dualadam.errors import DualAdamError, InvalidTypeError, InvalidValueError, last_line
from dualadam.tasks.splits import split_generator
from dualadam.tasks.structure import map_tensors, num_rows, tensors_of


class Examples(ABC):
    """Examples that can be counted and read in batches."""

    def __init__(self, count: int) -> None:
        self.count = count

    @abstractmethod
    def chosen(self, indices: Tensor) -> Examples:
        """Return only these examples, in this order."""

    @abstractmethod
    def batches(self, size: int, generator: torch.Generator | None) -> Iterator[Any]:
        """Yield batches: with a generator full ones in random order, else all examples in order."""

    def hold_out(self, share: float) -> tuple[Examples, Examples]:
        """Return the kept and the held-out examples; the choice is the same in every study."""
        order = torch.randperm(self.count, generator=split_generator())
        held_out = max(1, round(share * self.count))
        return self.chosen(order[held_out:].sort().values), self.chosen(
            order[:held_out].sort().values
        )

    def sample(self, count: int) -> Examples:
        """Return a sample of ``count`` examples, the same in every study."""
        if count >= self.count:
            return self
        order = torch.randperm(self.count, generator=split_generator())
        return self.chosen(order[:count].sort().values)


class Indexed(Examples):
    """Examples that are read by their indices."""

    def __init__(self, read: Callable[[Tensor], Any], indices: Tensor) -> None:
        super().__init__(len(indices))
        self.read, self.indices = read, indices

    def chosen(self, indices: Tensor) -> Examples:
        """Return only these examples, in this order."""
        return Indexed(self.read, self.indices[indices])

    def batches(self, size: int, generator: torch.Generator | None) -> Iterator[Any]:
        """Yield batches: with a generator full ones in random order, else all examples in order."""
        if generator is None:
            for part in self.indices.split(size):
                yield self.read(part)
            return
        order = self.indices[torch.randperm(self.count, generator=generator)]
        for first in range(0, self.count - size + 1, size):
            yield self.read(order[first : first + size])


class Epochs(Examples):
    """Examples that a function yields in batches of its own size, epoch by epoch."""

    def __init__(self, name: str, function: Callable[[torch.Generator], Any]) -> None:
        self.name, self.function, self.limit = name, function, None
        _check_argument(name, function)
        try:
            sizes = [self._size(batch) for batch in self._epoch(torch.Generator().manual_seed(0))]
        except DualAdamError:
            raise
        except Exception as error:  # the user's code may raise anything
            raise InvalidValueError(f"{name} raised {last_line(error)}.") from error
        if not sizes:
            raise InvalidValueError(f"{name} must yield batches, got none in an epoch.")
        self.batch_size = sizes[0]
        super().__init__(sum(size for size in sizes if size == self.batch_size))

    def _size(self, batch: Any) -> int:
        try:
            return num_rows(batch)
        except ValueError as error:
            raise InvalidValueError(
                f"{self.name} must yield tensors, or tuples, lists or dictionaries of tensors "
                f"with the same number of rows, got {type(batch).__name__}: {error}."
            ) from error

    def _epoch(self, generator: torch.Generator) -> Iterator[Any]:
        batches = self.function(generator)
        if not hasattr(batches, "__iter__"):
            raise InvalidTypeError(
                f"{self.name} must return the batches of one epoch, got {type(batches).__name__}."
            )
        return iter(batches)

    def chosen(self, indices: Tensor) -> Examples:
        """Refuse: a function cannot be asked for some of its examples."""
        raise InvalidValueError(
            f"{self.name} is a function, of which no part can be held out or sampled: give "
            "validation and test beside it, and leave out subset and evaluate_at_most."
        )

    def batches(self, size: int, generator: torch.Generator | None) -> Iterator[Any]:
        """Yield the function's batches: with a generator full ones, else all."""
        if generator is None:
            yield from self._epoch(torch.Generator().manual_seed(0))
            return
        if size != self.batch_size:
            raise InvalidValueError(
                f"batch_size must be {self.batch_size}, which {self.name} yields, got {size}."
            )
        for batch in self._epoch(generator):
            if num_rows(batch) == size:
                yield batch


def examples_of(name: str, data: Any, collate: Callable[[list[Any]], Any] | None) -> Examples:
    """Return the examples of a split.

    Args:
        name: "train", "validation" or "test", for messages.
        data, collate: as for ``Problem``.

    Raises:
        InvalidTypeError: data has a type that is not known.
        InvalidValueError: it is empty, or its tensors differ in their numbers of rows.
    """
    if isinstance(data, Tensor | tuple | list | Mapping) and not _is_dataset(data):
        try:
            count = num_rows(data)
        except ValueError as error:
            if {len(tensor) for tensor in tensors_of(data) if tensor.dim()} <= {0}:
                raise InvalidValueError(f"{name} must not be empty, got no examples.") from None
            raise InvalidValueError(f"{name} cannot be used: {error}.") from None
        return Indexed(
            lambda indices: map_tensors(data, lambda tensor: tensor[indices]), torch.arange(count)
        )
    if _is_dataset(data):
        if not len(data):
            raise InvalidValueError(f"{name} must not be empty, got a data set of 0 examples.")
        gather = collate or default_collate
        return Indexed(
            lambda indices: gather([data[k] for k in indices.tolist()]), torch.arange(len(data))
        )
    if callable(data):
        return Epochs(name, data)
    raise InvalidTypeError(
        f"{name} must be a Dataset, tensors with the same number of rows, or a function that "
        f"returns the batches of one epoch, got {type(data).__name__}."
    )


def _check_argument(name: str, function: Callable[..., Any]) -> None:
    """Refuse a function that does not take the generator."""
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        raise InvalidTypeError(
            f"{name} must be a function of one argument, the torch.Generator that decides the "
            f"order of an epoch: {error}."
        ) from None
    except ValueError:  # a function in C has no signature
        return


def _is_dataset(data: Any) -> bool:
    """Whether data is a map-style data set: a list counts, unless it holds tensors alone."""
    if isinstance(data, Tensor | tuple | Mapping):
        return False
    if isinstance(data, list):
        return not all(isinstance(value, Tensor) for value in data)
    return hasattr(data, "__len__") and hasattr(data, "__getitem__")
