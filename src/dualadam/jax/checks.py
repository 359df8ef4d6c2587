"""What the arguments may be. Values are checked where they are known: not while jax traces."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from dualadam.errors import InvalidTypeError, InvalidValueError

Scalar: TypeAlias = float | jax.Array
Schedule: TypeAlias = Callable[[Any], Any]


class Range(NamedTuple):
    """The values that a number may have, and what to do about others."""

    words: str
    contains: Callable[[float], bool]
    remedy: str = ""


AT_LEAST_0 = Range("be at least 0 and finite", lambda value: 0 <= value < math.inf)
BETA = Range("be in [0, 1)", lambda value: 0 <= value < 1)
SWITCH_RATE = Range(
    "be in [0, 1]", lambda value: 0 <= value <= 1, " switch_rate_for(total_steps) gives one."
)
A_NUMBER = "a number or a 0-d array"


def number(
    name: str, value: Any, allowed: Range, where: str = "", kinds: str = A_NUMBER
) -> float | jax.Array:
    """Return a number of the range: as a float, or as an array of at least float32."""
    is_number = isinstance(value, Real | np.generic | np.ndarray | jax.Array)
    if not is_number or isinstance(value, bool) or np.ndim(value) != 0:
        raise InvalidTypeError(f"{name} must be {kinds}, got {value!r}{where}.")
    if not isinstance(value, jax.core.Tracer) and not allowed.contains(float(value)):
        dtype, remedy = getattr(value, "dtype", None), allowed.remedy
        if dtype in (jnp.bfloat16, jnp.float16):  # 0.999 is 1 in bfloat16
            remedy = f" It has {dtype}: inject_hyperparams takes hyperparam_dtype=jnp.float32."
        raise InvalidValueError(f"{name} must {allowed.words}, got {value}{where}.{remedy}")
    return float(value) if isinstance(value, Real) else at_least_float32(value)


def number_or_schedule(name: str, value: Any, allowed: Range) -> Any:
    """Return the number, or a schedule that checks each value that is known when it is made."""
    if not callable(value):
        return number(name, value, allowed, kinds="a number, a 0-d array or a schedule")

    def checked(count: Any) -> float | jax.Array:
        where = "" if isinstance(count, jax.core.Tracer) else f" at count {count}"
        return number(name, value(count), allowed, where)

    return checked


def check_start(*rates: Any) -> None:
    """Evaluate the schedules among the rates at count 0, also while jax traces."""
    with jax.ensure_compile_time_eval():
        for rate in rates:
            if callable(rate):
                rate(jnp.zeros([], jnp.int32))


def floating_dtype(mu_dtype: Any) -> Any:
    """Return the dtype as jax holds it: float64 is float32 unless x64 is enabled."""
    if mu_dtype is None:
        return None
    try:
        dtype = jax.dtypes.canonicalize_dtype(mu_dtype)
    except TypeError:
        dtype = None
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise InvalidValueError(
            f"mu_dtype must be None or a floating-point dtype, got {mu_dtype!r}."
        )
    return dtype


def check_leaves(name: str, tree: Any, mu_dtype: Any = None) -> None:
    """Refuse leaves that are not arrays of real or complex numbers."""
    for path, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        dtype = getattr(leaf, "dtype", type(leaf))
        place = jax.tree_util.keystr(path) or "the root"
        if not jnp.issubdtype(dtype, jnp.inexact):
            shown = dtype.__name__ if isinstance(dtype, type) else dtype
            raise InvalidTypeError(
                f"{name} must be floating-point or complex arrays, got {shown} at {place}. "
                "Leave such leaves out with optax.masked, or set them to None."
            )
        if mu_dtype is not None and jnp.issubdtype(dtype, jnp.complexfloating):
            raise InvalidTypeError(
                f"mu_dtype must be None for complex {name}, got {mu_dtype}; one is at {place}."
            )


def at_least_float32(array: Any) -> jax.Array:
    """Return the array in its dtype, in float32 where that has fewer bits."""
    return jnp.asarray(array).astype(jnp.promote_types(jnp.result_type(array), jnp.float32))
