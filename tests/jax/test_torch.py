"""dualadam.jax == the torch loop in float32, to what optax's bias correction is off by."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from optax_cases import SHAPES, make_gradients, make_params, train

import dualadam
from dualadam import jax as dualadam_jax

STEPS, LR = 300, 1e-3
# optax computes 1 - b2^t in float32, where b2 = 0.999 is off by 1.3e-8: that is 1.3e-5 of 1 - b2,
# and half of it for the root. A parameter is rounded by 2^-24 of itself, by torch after the decay
# and after the step, by optax once a step.
STEP_ERROR, ROUNDING = 7e-6, 3 * 2**-24


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("dualadam", {"switch_rate": 0.01}),
        ("dualadam", {"switch_rate": 0.01, "weight_decay": 0.1}),
        ("dualadam", {"switch_rate": 1.0}),
        ("invadam", {}),
    ],
    ids=["mixing", "decay", "Adam", "InvAdam"],
)
def test_300_steps_equal_those_of_the_torch_loop(name: str, settings: dict[str, Any]):
    params, gradients = make_params(), make_gradients(STEPS)
    optimizer = getattr(dualadam_jax, name)(LR, **settings)
    history, _ = train(optimizer, params, optimizer.init(params), gradients)
    torch_class = {"dualadam": dualadam.DualAdam, "invadam": dualadam.InvAdam}[name]
    tensors = {key: torch.tensor(np.array(params[key])).requires_grad_() for key in SHAPES}
    torch_optimizer = torch_class(list(tensors.values()), lr=LR, foreach=False, **settings)
    travelled = 0.0
    for step in range(STEPS):
        for key, tensor in tensors.items():
            tensor.grad = torch.tensor(np.array(gradients[key][step]))
        before = [tensor.detach().clone() for tensor in tensors.values()]
        torch_optimizer.step()
        moves = zip(tensors.values(), before, strict=True)
        travelled += max((new.detach() - old).abs().max().item() for new, old in moves)
        for key, tensor in tensors.items():
            size = np.abs(history[key][step]).max()
            np.testing.assert_allclose(
                history[key][step],
                tensor.detach().numpy(),
                rtol=0,
                atol=STEP_ERROR * travelled + ROUNDING * size * (step + 1),
            )


@pytest.mark.parametrize("total_steps", [1, 6, 7, 1000, 78_200])
@pytest.mark.parametrize("fraction", [0.01, 0.16, 1.0])
def test_switch_rate_for_is_that_of_torch(total_steps: int, fraction: float):
    assert dualadam_jax.switch_rate_for(total_steps, fraction) == dualadam.switch_rate_for(
        total_steps, fraction
    )


@pytest.mark.parametrize("arguments", [(0,), (True,), (1.5,), (10, 0.0), (10, 1.5)])
def test_switch_rate_for_refuses_what_torchs_refuses_in_the_same_words(arguments: tuple[Any, ...]):
    with pytest.raises((TypeError, ValueError)) as torchs:
        dualadam.switch_rate_for(*arguments)
    with pytest.raises(type(torchs.value)) as ours:
        dualadam_jax.switch_rate_for(*arguments)
    assert str(ours.value) == str(torchs.value)
    assert isinstance(ours.value, dualadam.errors.DualAdamError)
