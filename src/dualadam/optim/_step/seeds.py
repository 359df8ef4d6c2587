"""Seeds that tell the rounding noise of several optimizers apart.

One optimizer per parameter, as steps within the backward pass need them, would otherwise give all
parameters the same noise, since each is the first one of its optimizer.
"""

from __future__ import annotations

import itertools
from weakref import WeakKeyDictionary

from torch.optim import Optimizer

# seeds of the optimizers that were made since one of them has stepped
_waiting: WeakKeyDictionary[Optimizer, int] = WeakKeyDictionary()


def new_seed(optimizer: Optimizer) -> int:
    """Return 0, 1, 2, ... for optimizers that are made in a row.

    The numbers begin again once one of them has stepped, so that a second training in the same
    process repeats the first.
    """
    taken = set(_waiting.values())
    seed = next(number for number in itertools.count() if number not in taken)
    _waiting[optimizer] = seed
    return seed


def begin_again() -> None:
    """Number the optimizers that are made from now on from 0: one of those before has stepped."""
    if _waiting:
        _waiting.clear()
