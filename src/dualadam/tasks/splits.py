"""Stratified choices of examples. Every split is the same in all studies of a data set."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dualadam.errors import InvalidValueError

SPLIT_SEED = 20260307


def split_generator() -> torch.Generator:
    """Return a new generator with the seed of every split."""
    return torch.Generator().manual_seed(SPLIT_SEED)


def stratified_indices(labels: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Choose ``count`` examples at random so that every class keeps its share.

    A class of n_k among n examples gets count * n_k / n of them, rounded down. The remaining places
    go to the largest remainders; a tie goes to the lower class.

    Args:
        labels: integer classes, shape (n,).
        count: 0 <= count <= n.
        generator: a CPU generator.

    Returns:
        Ascending int64 indices into ``labels``, shape (count,).

    Raises:
        InvalidValueError: ``count`` is out of its range.

    Example:
        >>> labels = torch.tensor([0] * 60 + [1] * 30 + [2] * 10)
        >>> chosen = stratified_indices(labels, 20, torch.Generator().manual_seed(0))
        >>> labels[chosen].bincount().tolist()
        [12, 6, 2]
    """
    if not 0 <= count <= len(labels):
        raise InvalidValueError(
            f"count must be from 0 to the number of examples, {len(labels)}, got {count}."
        )
    members = [(labels == label).nonzero().flatten() for label in labels.unique()]
    shares = [divmod(count * len(member), len(labels)) for member in members]
    by_remainder = sorted(range(len(members)), key=lambda k: -shares[k][1])
    rounded_up = set(by_remainder[: count - sum(share for share, _ in shares)])
    chosen = [
        member[torch.randperm(len(member), generator=generator)[: share + (k in rounded_up)]]
        for k, (member, (share, _)) in enumerate(zip(members, shares, strict=True))
    ]
    return torch.cat(chosen).sort().values if chosen else torch.empty(0, dtype=torch.int64)


def stratified_split(
    labels: Tensor, held_out: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Hold out ``held_out`` stratified examples and keep the others.

    Args:
        labels: integer classes, shape (n,).
        held_out: 0 <= held_out <= n.
        generator: a CPU generator.

    Returns:
        The kept and the held-out examples, as ascending int64 indices that share no element, of
        lengths n - held_out and held_out.

    Raises:
        InvalidValueError: ``held_out`` is out of its range.

    Example:
        >>> labels = torch.arange(10) % 2
        >>> kept, held_out = stratified_split(labels, 4, torch.Generator().manual_seed(0))
        >>> sorted(kept.tolist() + held_out.tolist()) == list(range(10)), len(held_out)
        (True, 4)
    """
    chosen = stratified_indices(labels, held_out, generator)
    kept = torch.ones(len(labels), dtype=torch.bool)
    kept[chosen] = False
    return kept.nonzero().flatten(), chosen


def evaluation_sample(labels: Tensor, count: int) -> Tensor:
    """Return the examples that represent a whole split, always the same ones.

    They are a stratified random sample. The first examples would not do, since files are often
    sorted by class.

    Args:
        labels: integer classes, shape (n,).
        count: at most this many examples, >= 0.

    Returns:
        Ascending int64 indices into ``labels``, shape (min(count, n),).

    Example:
        >>> sorted_by_class = torch.arange(10).repeat_interleave(50)
        >>> sorted_by_class[evaluation_sample(sorted_by_class, 20)].bincount().tolist()
        [2, 2, 2, 2, 2, 2, 2, 2, 2, 2]
        >>> len(evaluation_sample(sorted_by_class, 10**6))
        500
    """
    return stratified_indices(labels, min(count, len(labels)), split_generator())


def check_classes(train_labels: Tensor, classes: Sequence[str], task: str) -> None:
    """Check that a training split has more than one class; else every model would be right.

    Raises:
        InvalidValueError: it has one class alone.
    """
    present = train_labels.unique().tolist()
    if len(present) < 2:
        raise InvalidValueError(
            f"The training split of {task!r} must have more than one class, got "
            f"{classes[present[0]]!r} alone; check the data and the subset."
        )
