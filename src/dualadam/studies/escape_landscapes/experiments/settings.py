"""The settings that several experiments share."""

from __future__ import annotations

from dualadam.diffusion import ADAM, INVADAM, SGD, DoubleWell, PathNoise

RULES = (SGD, ADAM, INVADAM)
BARRIER = 0.1
LR = 0.04
# Of every rule at k = B = 1; the centre of all slopes.
CENTRE_EXPONENT = 2 * BARRIER / LR

# Noise that is half as large at the saddle as at the minimum, and the lr of its points.
WELL = DoubleWell(1.0, BARRIER)
HALVED_NOISE = PathNoise(WELL, at_minimum=1.0, at_saddle=0.5)
HALVED_NOISE_LR = 0.06


def curvature_for(exponent: float, power: float) -> float:
    """Return the curvature at which a rule has an exponent, if it goes as curvature^-power."""
    return float((CENTRE_EXPONENT / exponent) ** (1 / power))
