"""The diffusion theory of escape from minima: closed forms, an exact quadrature, and a simulation that drives the shipped optimizers."""

from dualadam.diffusion.escape import (
    EscapeTime,
    EscapeWarning,
    effective_temperature,
    escape_time,
    escape_time_on,
    largest_stable_lr,
    quasi_equilibrium_threshold,
)
from dualadam.diffusion.landscapes import (
    AsymmetricWells,
    DoubleWell,
    Landscape,
    SpectrumWell,
    StyblinskiTang,
)
from dualadam.diffusion.noise import ConstantNoise, HessianNoise, MeasuredNoise, Noise, PathNoise
from dualadam.diffusion.quadrature import log_barrier, mean_first_passage_time
from dualadam.diffusion.rules import ADAM, INVADAM, SGD, Rule, mixture
from dualadam.diffusion.simulate import FirstPassages, simulate

__all__ = [
    "ADAM",
    "INVADAM",
    "SGD",
    "AsymmetricWells",
    "ConstantNoise",
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
    "simulate",
]
