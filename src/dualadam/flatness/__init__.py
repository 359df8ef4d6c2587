"""Measures of flatness: curvature and sharpness of a module's loss.

Needs the extra ``theory`` or ``bench``.
"""

from dualadam.errors import MissingExtraError

try:
    import numpy  # noqa: F401
    import scipy  # noqa: F401
except ImportError as error:
    raise MissingExtraError(
        "dualadam.flatness needs numpy and scipy: pip install 'dualadam[theory]'"
    ) from error

from dualadam.flatness.density import SpectralDensity, spectral_density
from dualadam.flatness.directions import filter_normalised_direction, loss_across, loss_along
from dualadam.flatness.eigenvalues import TopEigenvalues, top_eigenvalues
from dualadam.flatness.hessian import hessian_operator, hvp
from dualadam.flatness.hessian_trace import TraceEstimate, trace
from dualadam.flatness.mean_loss import MeanLoss
from dualadam.flatness.preconditioned import (
    PreconditionedSharpness,
    preconditioned_sharpness,
    preconditioner,
)
from dualadam.flatness.relative import relative_flatness
from dualadam.flatness.sharpness import m_sam_sharpness, sam_sharpness

__all__ = [
    "MeanLoss",
    "PreconditionedSharpness",
    "SpectralDensity",
    "TopEigenvalues",
    "TraceEstimate",
    "filter_normalised_direction",
    "hessian_operator",
    "hvp",
    "loss_across",
    "loss_along",
    "m_sam_sharpness",
    "preconditioned_sharpness",
    "preconditioner",
    "relative_flatness",
    "sam_sharpness",
    "spectral_density",
    "top_eigenvalues",
    "trace",
]
