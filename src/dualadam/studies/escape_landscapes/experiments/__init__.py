"""The experiments, one a file."""

from __future__ import annotations

from dualadam.studies.escape_landscapes.experiment import Experiment
from dualadam.studies.escape_landscapes.experiments.correlation import Correlation
from dualadam.studies.escape_landscapes.experiments.dualadam_as_released import DualAdamAsReleased
from dualadam.studies.escape_landscapes.experiments.large_steps import LargeSteps
from dualadam.studies.escape_landscapes.experiments.literal_noise import LiteralNoise
from dualadam.studies.escape_landscapes.experiments.mixture import Mixture
from dualadam.studies.escape_landscapes.experiments.momentum import Momentum
from dualadam.studies.escape_landscapes.experiments.noise_law import NoiseLaw
from dualadam.studies.escape_landscapes.experiments.order_flip import OrderFlip
from dualadam.studies.escape_landscapes.experiments.papers_prefactor import PapersPrefactor
from dualadam.studies.escape_landscapes.experiments.rotation import Rotation
from dualadam.studies.escape_landscapes.experiments.selectivity import Selectivity
from dualadam.studies.escape_landscapes.experiments.several_dimensions import SeveralDimensions
from dualadam.studies.escape_landscapes.experiments.slopes import Slopes
from dualadam.studies.escape_landscapes.experiments.slow_second_moment import SlowSecondMoment

EXPERIMENTS: tuple[type[Experiment], ...] = (
    Slopes,
    Mixture,
    OrderFlip,
    Selectivity,
    SeveralDimensions,
    # outside the theory's assumptions
    PapersPrefactor,
    SlowSecondMoment,
    Momentum,
    LiteralNoise,
    LargeSteps,
    NoiseLaw,
    Correlation,
    DualAdamAsReleased,
    Rotation,
)
