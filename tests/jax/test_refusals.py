"""Bad input is refused early, with argument, range, value and remedy."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dualadam.errors import InvalidTypeError, InvalidValueError
from dualadam.jax import dualadam, invadam, scale_by_dualadam, scale_by_invadam

FLOAT0 = np.zeros(3, jax.dtypes.float0)
REFUSED: list[tuple[Callable[[], Any], type[Exception], str]] = [
    (
        lambda: dualadam(-0.1),
        InvalidValueError,
        "learning_rate must be at least 0 and finite, got -0.1.",
    ),
    (
        lambda: dualadam(float("nan")),
        InvalidValueError,
        "learning_rate must be at least 0 and finite, got nan.",
    ),
    (
        lambda: dualadam(jnp.float32(-1)),
        InvalidValueError,
        "learning_rate must be at least 0 and finite, got -1.0.",
    ),
    (
        lambda: dualadam(None),
        InvalidTypeError,
        "learning_rate must be a number, a 0-d array or a schedule, got None.",
    ),
    (
        lambda: invadam(True),
        InvalidTypeError,
        "learning_rate must be a number, a 0-d array or a schedule, got True.",
    ),
    (lambda: dualadam(0.1, b1=1.0), InvalidValueError, "b1 must be in [0, 1), got 1.0."),
    (lambda: invadam(0.1, b2=-0.1), InvalidValueError, "b2 must be in [0, 1), got -0.1."),
    (
        lambda: scale_by_invadam((0.9, 0.999)),
        InvalidTypeError,
        "b1 must be a number or a 0-d array, got (0.9, 0.999).",
    ),
    (
        lambda: scale_by_invadam(b2=np.ones(2)),
        InvalidTypeError,
        "b2 must be a number or a 0-d array, got array([1., 1.]).",
    ),
    (
        lambda: scale_by_dualadam(eps=-1e-8),
        InvalidValueError,
        "eps must be at least 0 and finite, got -1e-08.",
    ),
    (
        lambda: dualadam(0.1, weight_decay=-1),
        InvalidValueError,
        "weight_decay must be at least 0 and finite, got -1.",
    ),
    (
        lambda: dualadam(0.1, switch_rate=2.0),
        InvalidValueError,
        "switch_rate must be in [0, 1], got 2.0. switch_rate_for(total_steps) gives one.",
    ),
    (
        lambda: dualadam(0.1, mu_dtype="flaot32"),
        InvalidValueError,
        "mu_dtype must be None or a floating-point dtype, got 'flaot32'.",
    ),
    (
        lambda: scale_by_dualadam(mu_dtype="int8"),
        InvalidValueError,
        "mu_dtype must be None or a floating-point dtype, got 'int8'.",
    ),
    (
        lambda: dualadam(0.1, mu_dtype="bfloat16").init({"a": jnp.ones(2) * 1j}),
        InvalidTypeError,
        "mu_dtype must be None for complex params, got bfloat16; one is at ['a'].",
    ),
    (
        lambda: dualadam(0.1).init({"a": [jnp.ones(2), jnp.arange(3)]}),
        InvalidTypeError,
        "params must be floating-point or complex arrays, got int32 at ['a'][1]. "
        "Leave such leaves out with optax.masked, or set them to None.",
    ),
    (
        lambda: scale_by_invadam().init("weights"),
        InvalidTypeError,
        "params must be floating-point or complex arrays, got str at the root. "
        "Leave such leaves out with optax.masked, or set them to None.",
    ),
    (
        lambda: dualadam(0.1).update({"a": FLOAT0}, dualadam(0.1).init({"a": jnp.ones(3)})),
        InvalidTypeError,
        "gradients must be floating-point or complex arrays, got [('float0', 'V')] at ['a']. "
        "Leave such leaves out with optax.masked, or set them to None.",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED, ids=[row[2] for row in REFUSED])
def test_bad_input_is_refused_with_argument_range_value_and_remedy(
    call: Callable[[], Any], error: type[Exception], message: str
):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()


SCHEDULED: dict[str, Callable[[Callable[[Any], Any]], Any]] = {
    "learning_rate": lambda schedule: dualadam(schedule),
    "switch_rate": lambda schedule: dualadam(0.1, switch_rate=schedule),
    "weight_decay": lambda schedule: invadam(0.1, weight_decay=schedule),
}


@pytest.mark.parametrize("compiled", [True, False], ids=["jit", "eager"])
@pytest.mark.parametrize("name", SCHEDULED)
def test_a_schedule_that_starts_out_of_range_is_refused_by_init(name: str, compiled: bool):
    init = SCHEDULED[name](lambda count: 0.1 * count - 0.5).init
    with pytest.raises(InvalidValueError, match=rf"^{name} must .*, got -0.5 at count 0\."):
        (jax.jit(init) if compiled else init)(jnp.ones(3))


@pytest.mark.parametrize("name", SCHEDULED)
def test_a_schedule_that_leaves_the_range_is_refused_where_its_values_are_known(name: str):
    optimizer = SCHEDULED[name](lambda count: 0.5 - 0.25 * count)
    params = jnp.ones(3)
    state = optimizer.init(params)
    for _ in range(3):
        _, state = optimizer.update(params, state, params)
    _, unseen = jax.jit(optimizer.update)(params, state, params)  # jit knows no values
    assert int(unseen[0].count) == 4
    with pytest.raises(InvalidValueError, match=rf"^{name} must .*, got -0.25 at count 3\."):
        optimizer.update(params, state, params)


def test_a_schedule_that_returns_no_number_is_refused():
    optimizer = dualadam(lambda count: "fast")
    message = r"^learning_rate must be a number or a 0-d array, got 'fast' at count 0\.$"
    with pytest.raises(InvalidTypeError, match=message):
        optimizer.init(jnp.ones(3))
