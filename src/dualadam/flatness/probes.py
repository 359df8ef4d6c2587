"""Random vectors that probe the Hessian."""

from __future__ import annotations

import torch
from torch import Tensor

from dualadam.flatness.mean_loss import MeanLoss


def generator_or_default(generator: torch.Generator | None) -> torch.Generator:
    """Return the generator, or a new one seeded with 0 for None."""
    return torch.Generator().manual_seed(0) if generator is None else generator


def random_signs(loss: MeanLoss, generator: torch.Generator) -> Tensor:
    """Return a flat vector whose elements are +1 or -1 with equal probability."""
    signs = torch.randint(0, 2, (loss.num_params,), generator=generator, device=generator.device)
    return (2 * signs - 1).to(loss.device, loss.dtype)
