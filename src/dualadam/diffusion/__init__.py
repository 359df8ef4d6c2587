"""The diffusion theory of escape from minima.

Three ways to an escape time: Kramers' closed form, an exact quadrature, and a simulation that
drives the shipped optimizers.
"""

from dualadam.diffusion.escape import (
    EscapeTime,
    EscapeWarning,
    escape_time,
    escape_time_on,
)
from dualadam.diffusion.first_passages import FirstPassages
from dualadam.diffusion.landscapes import (
    AsymmetricWells,
    DoubleWell,
    Landscape,
    SpectrumWell,
    StyblinskiTang,
)
from dualadam.diffusion.noise import ConstantNoise, HessianNoise, MeasuredNoise, Noise, PathNoise
from dualadam.diffusion.quadrature import log_barrier, mean_first_passage_time
from dualadam.diffusion.rotation import rotated_variances, spread_over
from dualadam.diffusion.rules import ADAM, INVADAM, SGD, Rule, mixture
from dualadam.diffusion.simulate import DivergedError, simulate
from dualadam.diffusion.temperature import (
    effective_temperature,
    largest_stable_lr,
    quasi_equilibrium_threshold,
    stationary_variance,
)

__all__ = [
    "ADAM",
    "INVADAM",
    "SGD",
    "AsymmetricWells",
    "ConstantNoise",
    "DivergedError",
    "DoubleWell",
    "EscapeTime",
    "EscapeWarning",
    "FirstPassages",
    "HessianNoise",
    "Landscape",
    "MeasuredNoise",
    "Noise",
    "PathNoise",
    "Rule",
    "SpectrumWell",
    "StyblinskiTang",
    "effective_temperature",
    "escape_time",
    "escape_time_on",
    "largest_stable_lr",
    "log_barrier",
    "mean_first_passage_time",
    "mixture",
    "quasi_equilibrium_threshold",
    "rotated_variances",
    "simulate",
    "spread_over",
    "stationary_variance",
]
