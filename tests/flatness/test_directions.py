"""The loss along and across filter-normalised directions."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from flatness_cases import CASES, quadratic, random_symmetric

from dualadam.errors import InvalidValueError
from dualadam.flatness import filter_normalised_direction, loss_across, loss_along

DISTANCES = np.linspace(-1, 1, 5)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_every_filter_of_the_direction_is_as_long_as_that_of_the_weights(case):
    loss, model, _ = case.make()
    generator = torch.Generator().manual_seed(1)
    direction = filter_normalised_direction(loss, generator=generator)
    for name, part in loss.split(direction).items():
        weights = model.get_parameter(name).detach()
        if weights.ndim < 2:
            assert not part.any()
        else:
            lengths = part.flatten(1).norm(dim=1)
            torch.testing.assert_close(lengths, weights.flatten(1).norm(dim=1))
            assert not torch.allclose(part, weights)


def test_directions_from_one_generator_differ_and_from_equal_seeds_agree():
    loss, _, _ = CASES["mlp"].make()
    generator = torch.Generator().manual_seed(5)
    first, second = (filter_normalised_direction(loss, generator=generator) for _ in range(2))
    again = filter_normalised_direction(loss, generator=torch.Generator().manual_seed(5))
    assert torch.equal(first, again)
    assert not torch.equal(first, second)


def test_the_loss_of_a_quadratic_along_and_across_directions_is_the_closed_form():
    a, w = random_symmetric(12, seed=3), torch.linspace(-1, 2, 12, dtype=torch.float64)
    d, e = (random_symmetric(12, seed).diagonal().clone() for seed in (6, 7))
    loss = quadratic(a, w)

    def exact(x, y):
        point = w + x * d + y * e
        return (point @ a @ point / 2).item()

    along = loss_along(loss, d, DISTANCES)
    across = loss_across(loss, d, e, DISTANCES)
    np.testing.assert_allclose(along, [exact(x, 0) for x in DISTANCES], rtol=1e-12)
    expected = [[exact(x, y) for y in DISTANCES] for x in DISTANCES]
    np.testing.assert_allclose(across, expected, rtol=1e-12)
    np.testing.assert_allclose(across[:, 2], along, rtol=1e-12)


def test_the_weights_are_the_same_bits_afterwards():
    loss, model, _ = CASES["mlp"].make()
    before = [p.clone() for p in model.parameters()]
    loss_along(loss, filter_normalised_direction(loss), DISTANCES)
    assert all(map(torch.equal, before, model.parameters()))


def test_wrong_shapes_are_refused():
    loss, _, _ = CASES["mlp"].make()
    with pytest.raises(InvalidValueError, match="direction must have the shape"):
        loss_along(loss, torch.ones(3), DISTANCES)
    with pytest.raises(InvalidValueError, match="distances must be 1-D and finite"):
        loss_along(loss, torch.ones(loss.num_params), [[0.0]])
