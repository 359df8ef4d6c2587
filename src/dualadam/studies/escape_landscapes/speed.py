"""Speed of the simulation, beside a plain NumPy loop of the same walkers."""

from __future__ import annotations

import time

import numpy as np
import torch

from dualadam.diffusion import (
    ADAM,
    INVADAM,
    SGD,
    ConstantNoise,
    DoubleWell,
    Rule,
    mixture,
    simulate,
)

NUM_WALKERS = 16_384
NUMPY_LOOP = "NumPy loop (InvAdam)"
BARRIER, LR = 0.1, 0.04
Speed = dict[str, float]  # walker-steps per second of processor time, by name


def measure_speed(num_steps: int, repeats: int = 3) -> Speed:
    """Return the speed at 16,384 walkers in one dimension on one thread, the best of the repeats.

    Processor time leaves out what else runs on the machine. The repeats alternate, so that a change
    of the clock's speed affects all alike.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    best: Speed = {}
    try:
        for _ in range(repeats):
            for rule in (SGD, ADAM, INVADAM, mixture(0.5)):
                started = time.process_time()
                _simulate(rule, num_steps)
                _keep_best(best, rule.name, num_steps, time.process_time() - started)
            started = time.process_time()
            numpy_loop(num_steps)
            _keep_best(best, NUMPY_LOOP, num_steps, time.process_time() - started)
    finally:
        torch.set_num_threads(threads)
    return best


def _keep_best(best: Speed, name: str, num_steps: int, seconds: float) -> None:
    best[name] = max(best.get(name, 0.0), NUM_WALKERS * num_steps / seconds)


def _simulate(rule: Rule, num_steps: int) -> None:
    well, noise = DoubleWell(1.0, BARRIER), ConstantNoise(1.0)
    simulate(well, noise, rule, LR, num_walkers=NUM_WALKERS, num_steps=num_steps, seed=0)


def numpy_loop(num_steps: int, num_walkers: int = NUM_WALKERS, seed: int = 0) -> int:
    """Return the escapes of InvAdam's walkers at k = B = 1, by plain NumPy in single precision."""
    rng = np.random.default_rng(seed)
    beta1, beta2 = 0.9, 0.999
    goal = np.float32((8 * BARRIER) ** 0.5)
    x = np.full(num_walkers, -goal)
    m, v = np.zeros_like(x), np.ones_like(x)
    escapes = 0
    for _ in range(num_steps):
        z = rng.standard_normal(num_walkers, dtype=np.float32)
        g = x / 2 * (x * x / (8 * BARRIER) - 1) + z
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        x = x - LR * m * np.sqrt(v)
        out = x >= goal
        if out.any():
            escapes += int(out.sum())
            x[out], m[out], v[out] = -goal, 0.0, 1.0
    return escapes
