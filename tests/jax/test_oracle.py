"""The oracle == dualadam.jax at every step of 300 in float64, parameters and state."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import pytest
from optax_cases import MASK, SHAPES, make_gradients, make_params, train
from oracle import Oracle

from dualadam.jax import dualadam, invadam
from dualadam.jax.directions import mixing_weights

STEPS = 300
# Float64 rounds at 1e-16 of numbers below 1e3 in each of 300 steps, and 1 - 0.999 has 1e-13 of it.
TOLERANCE = 1e-10


class Case(NamedTuple):
    """``oracle`` gives the settings that the oracle takes in the update of a count."""

    make: Callable[[], Any]
    oracle: Callable[[int], dict[str, float]]
    gradient_scale: float = 1.0
    mask: dict[str, bool] | None = None


def cosine(count: Any, cos: Callable[[Any], Any] = jnp.cos) -> Any:
    return 0.005 * (1 + cos(math.pi * count / STEPS))


def rising(count: Any) -> Any:
    return 0.004 + 1e-5 * count


CASES = {
    "default switch rate": Case(
        lambda: dualadam(0.01), lambda count: {"lr": 0.01, "switch_rate": 0.01}
    ),
    "decay": Case(
        lambda: dualadam(0.01, switch_rate=1 / 60, weight_decay=0.1),
        lambda count: {"lr": 0.01, "switch_rate": 1 / 60, "weight_decay": 0.1},
    ),
    "masked decay": Case(
        lambda: dualadam(0.01, switch_rate=1 / 60, weight_decay=0.1, mask=MASK),
        lambda count: {"lr": 0.01, "switch_rate": 1 / 60, "weight_decay": 0.1},
        mask=MASK,
    ),
    "scheduled decay": Case(
        lambda: dualadam(0.01, weight_decay=lambda count: 1e-3 * count),
        lambda count: {"lr": 0.01, "switch_rate": 0.01, "weight_decay": 1e-3 * count},
    ),
    "InvAdam": Case(lambda: invadam(0.01), lambda count: {"lr": 0.01}),
    "Adam": Case(
        lambda: dualadam(0.01, switch_rate=1.0), lambda count: {"lr": 0.01, "switch_rate": 1.0}
    ),
    "betas of 0 and large eps": Case(
        lambda: dualadam(0.01, b1=0.0, b2=0.0, eps=0.1, switch_rate=0.005),
        lambda count: {"lr": 0.01, "betas": (0.0, 0.0), "eps": 0.1, "switch_rate": 0.005},
    ),
    "small gradients": Case(
        lambda: dualadam(0.01), lambda count: {"lr": 0.01, "switch_rate": 0.01}, 1e-6
    ),
    "large gradients": Case(
        lambda: dualadam(1e-4), lambda count: {"lr": 1e-4, "switch_rate": 0.01}, 30.0
    ),
    "scheduled learning rate": Case(
        lambda: dualadam(cosine),
        lambda count: {"lr": cosine(count, math.cos), "switch_rate": 0.01},
    ),
    "scheduled switch rate": Case(
        lambda: dualadam(0.01, switch_rate=rising),
        lambda count: {"lr": 0.01, "switch_rate": rising(count)},
    ),
}


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_step_of_300_equals_the_oracle_in_parameters_and_state(case: Case):
    params, gradients = (
        make_params(jnp.float64),
        make_gradients(STEPS, jnp.float64, case.gradient_scale),
    )
    optimizer = case.make()
    history, (adam_state, *_) = train(optimizer, params, optimizer.init(params), gradients)
    for key in SHAPES:
        oracle, expected = Oracle(params[key]), []
        for count in range(STEPS):
            settings = case.oracle(count)
            if case.mask is not None and not case.mask[key]:
                settings.pop("weight_decay")
            oracle.step(gradients[key][count], **settings)
            expected.append((oracle.theta, oracle.m, oracle.v))
        thetas, ms, vs = (np.stack(column) for column in zip(*expected, strict=True))
        np.testing.assert_allclose(history[key], thetas, rtol=TOLERANCE)
        np.testing.assert_allclose(adam_state.mu[key], ms, rtol=TOLERANCE)
        np.testing.assert_allclose(adam_state.nu[key], vs, rtol=TOLERANCE)
        assert adam_state.count.tolist() == list(range(1, STEPS + 1))


@pytest.mark.usefixtures("x64")
def test_complex_gradients_have_one_second_moment_that_of_their_size():
    """theta, m are complex, v = E|g|^2 is real: written here from the equations, in NumPy."""
    params = make_params(jnp.complex128)
    gradients = make_gradients(STEPS, jnp.complex128)
    optimizer = dualadam(0.01)
    history, (adam_state, *_) = train(optimizer, params, optimizer.init(params), gradients)
    assert {leaf.dtype for leaf in adam_state.nu.values()} == {jnp.dtype(jnp.float64)}
    for key in SHAPES:
        theta, m, v = np.asarray(params[key]), 0.0, 0.0
        for t in range(1, STEPS + 1):
            g = np.asarray(gradients[key][t - 1])
            m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * np.abs(g) ** 2
            mh, r = m / (1 - 0.9**t), np.sqrt(v / (1 - 0.999**t)) + 1e-8
            alpha = max(0.0, 1 - 0.01 * t)
            theta = theta - 0.01 * ((1 - alpha) * mh / r + alpha * mh * r)
            np.testing.assert_allclose(history[key][t - 1], theta, rtol=TOLERANCE)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_the_hand_over_ends_in_step_n_for_a_switch_rate_of_one_over_n(
    precision: str, request: pytest.FixtureRequest
):
    if precision == "float64":
        request.getfixturevalue("x64")
    durations = np.array([*range(1, 3001), 12_500, 99_999, 1_000_003])
    rates = jnp.asarray(1 / durations, precision)
    last, adam_at_last = mixing_weights(durations.astype(np.int32), rates)
    before, _ = mixing_weights(durations.astype(np.int32) - 1, rates)
    assert not last.any()
    assert (adam_at_last == 1).all()
    # rounding: 1/N, N - 1 and their product, each to half of the dtype's epsilon
    np.testing.assert_allclose(before, 1 / durations, rtol=0, atol=1.5 * jnp.finfo(precision).eps)
    assert before.all()


def test_the_weight_of_adam_is_as_exact_in_the_first_step_as_in_the_last():
    """1 - (1 - xi) would be off by 4e-4 of itself at the published xi of 8e-5."""
    _, adam_weight = mixing_weights(jnp.int32(1), 8e-5)
    assert float(adam_weight) == pytest.approx(8e-5, rel=1e-7)
