"""oracle == loop == foreach at every step, parameters and state."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from cases import HALF, ROW_IDS, ROWS, Case, assert_near, epsilon
from oracle import Oracle

from dualadam import DualAdam

STEPS = 300


@pytest.mark.parametrize(("case", "path"), ROWS, ids=ROW_IDS)
def test_every_step_of_300_equals_the_oracle_in_parameters_and_state(case: Case, path: str):
    params = case.make_params()
    oracles = case.make_oracles(params)
    optimizer = case.make(params, path)
    largest = [1.0] * len(params)
    for step in range(1, STEPS + 1):
        case.set_grads(params, step)
        optimizer.step()
        for i, (param, oracle) in enumerate(zip(params, oracles, strict=True)):
            if param.grad is None:
                assert param not in optimizer.state
                continue
            gradient = (
                param.grad.detach() if param.grad.is_complex() else param.grad.detach().double()
            )
            oracle.step(gradient.numpy(), **case.oracle_settings(i))
            state = optimizer.state[param]
            state_eps = epsilon(torch.float32 if param.dtype in HALF else param.dtype)
            assert state["step"].item() == oracle.t
            assert_near(
                oracle.m, state["exp_avg"], steps=oracle.t, eps=state_eps, scale=case.gradient_scale
            )
            assert_near(oracle.v, state["exp_avg_sq"], steps=oracle.t, eps=state_eps)
            # the oracle rounds half precision too: only a tie can differ, by one unit
            largest[i] = max(largest[i], float(np.abs(oracle.theta).max(initial=0.0)))
            steps = 0 if param.dtype in HALF else oracle.t
            assert_near(
                oracle.theta, param, steps=steps, eps=epsilon(param.dtype), scale=largest[i]
            )


def test_a_step_at_the_end_of_the_hand_over_equals_the_oracle_for_every_duration_up_to_100():
    for duration in range(1, 101):
        weight = torch.tensor([0.5], dtype=torch.float64, requires_grad=True)
        optimizer = DualAdam([weight], lr=0.1, switch_rate=1 / duration)
        oracle = Oracle([0.5])
        for _ in range(duration + 2):
            weight.grad = torch.tensor([3.0], dtype=torch.float64)
            optimizer.step()
            oracle.step([3.0], lr=0.1, switch_rate=1 / duration)
        # alpha below 1e-9 counts as 0 here and is at most 1e-15 in the oracle: rounding
        np.testing.assert_allclose(weight.detach().numpy(), oracle.theta, rtol=1e-13)
