"""What a measurement leaves unchanged, and what its random numbers depend on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from flatness_cases import CASES, loss_of, quadratic, random_symmetric, squares
from torch import nn

from dualadam.errors import InvalidValueError
from dualadam.flatness import (
    MeanLoss,
    hvp,
    sam_sharpness,
    spectral_density,
    top_eigenvalues,
    trace,
)

MEASURES = {
    "hvp": lambda loss: hvp(loss, torch.ones(loss.num_params)),
    "top_eigenvalues": lambda loss: top_eigenvalues(loss, k=1),
    "trace": lambda loss: trace(loss, max_samples=10),
    "spectral_density": lambda loss: spectral_density(loss, num_steps=3, num_samples=1),
    "sam_sharpness": lambda loss: sam_sharpness(loss),
    "adaptive sharpness": lambda loss: sam_sharpness(loss, 0.5, adaptive=True),
}


@pytest.mark.parametrize("measure", MEASURES.values(), ids=MEASURES.keys())
def test_a_measurement_leaves_the_model_and_the_global_generator_unchanged(measure):
    _, model, (x, y) = CASES["conv, batchnorm, dropout"].make()
    model.train()
    model[1].eval()  # a mixture of modes, to be restored
    model[0].requires_grad_(False)
    for p in model.parameters():
        p.grad = torch.full_like(p, 7.0)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    rng = torch.get_rng_state()

    measure(
        MeanLoss(model, lambda model, batch: F.cross_entropy(model(batch[0]), batch[1]), [(x, y)])
    )

    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert [m.training for m in model] == [True, False, True, True, True, True, True]
    assert all((p.grad == 7.0).all() for p in model.parameters())
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True, True]
    assert torch.equal(rng, torch.get_rng_state())


def test_an_error_during_a_pass_leaves_modes_and_weights_unchanged():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout())
    weights = [p.detach().clone() for p in model.parameters()]

    def explodes_off_the_spot(model, batch):
        return squares(model, batch) * (
            1.0 if torch.equal(model[0].weight, weights[0]) else torch.inf
        )

    loss = loss_of(model, explodes_off_the_spot)
    # `caught` keeps the traceback alive: its frames must not keep the mode either
    with pytest.raises(InvalidValueError, match="finite, got inf") as caught:
        sam_sharpness(loss)
    assert [m.training for m in model.modules()] == [True, True, True], caught
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), weights, strict=True))


@pytest.mark.parametrize(
    "measure", [trace, spectral_density, top_eigenvalues], ids=lambda f: f.__name__
)
def test_the_same_generator_gives_the_same_numbers_and_none_is_seed_0(measure):
    loss = quadratic(random_symmetric(40, seed=4))
    a, b, none, other = (
        measure(loss, generator=None if seed is None else torch.Generator().manual_seed(seed))
        for seed in (0, 0, None, 1)
    )
    fields = [list(map(np.asarray, vars(result).values())) for result in (a, b, none, other)]
    assert all(
        np.array_equal(x, y) and np.array_equal(x, z) for x, y, z in zip(*fields[:3], strict=True)
    )
    assert not all(np.array_equal(x, y) for x, y in zip(fields[0], fields[3], strict=True))
