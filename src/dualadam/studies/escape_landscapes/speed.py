"""Speed of the simulation beside a plain NumPy loop of the same walkers."""

from __future__ import annotations

import time

import numpy as np
import torch

from dualadam.diffusion.landscapes import DoubleWell
from dualadam.diffusion.noise import ConstantNoise
from dualadam.diffusion.rules import ADAM, INVADAM, SGD, Rule, mixture
from dualadam.diffusion.simulate import simulate

NUM_WALKERS = 16_384


def measure_speed(num_steps: int = 2000, repeats: int = 3) -> dict[str, float]:
    """Return walker-steps per second of processor time at 16,384 walkers in one dimension, best of the repeats.

    Processor time, so that what else runs on the machine costs little; the repeats alternate, so that the rest weighs on all.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    best: dict[str, float] = {}
    try:
        for _ in range(repeats):
            for name, run in {
                **{rule.name: _simulation(rule) for rule in (SGD, ADAM, INVADAM, mixture(0.5))},
                "NumPy loop (InvAdam)": numpy_loop,
            }.items():
                started = time.process_time()
                run(num_steps)
                best[name] = max(
                    best.get(name, 0.0), NUM_WALKERS * num_steps / (time.process_time() - started)
                )
    finally:
        torch.set_num_threads(threads)
    return best


def _simulation(rule: Rule):  # type: ignore[no-untyped-def]
    return lambda num_steps: simulate(
        DoubleWell(),
        ConstantNoise(1.0),
        rule,
        0.04,
        num_walkers=NUM_WALKERS,
        num_steps=num_steps,
        seed=0,
    )


def numpy_loop(num_steps: int, num_walkers: int = NUM_WALKERS, seed: int = 0) -> int:
    """Return the escapes of InvAdam's walkers at k = B = 1 and lr 0.04, written down plainly in NumPy, in single precision too."""
    rng = np.random.default_rng(seed)
    height, lr, beta1, beta2 = 0.1, 0.04, 0.9, 0.999
    goal = np.float32((8 * height) ** 0.5)
    x = np.full(num_walkers, -goal)
    m, v = np.zeros_like(x), np.ones_like(x)
    escapes = 0
    for _ in range(num_steps):
        g = x / 2 * (x * x / (8 * height) - 1) + rng.standard_normal(num_walkers, dtype=np.float32)
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * g * g
        x = x - lr * m * np.sqrt(v)
        out = x >= goal
        if out.any():
            escapes += int(out.sum())
            x[out], m[out], v[out] = -goal, 0.0, 1.0
    return escapes
