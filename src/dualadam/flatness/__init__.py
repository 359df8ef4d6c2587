"""How flat is this minimum: curvature and sharpness of any module's loss, measured. Needs the extra ``theory`` or ``bench``."""

from dualadam.flatness.hessian import TraceEstimate, hessian_operator, hvp, trace
from dualadam.flatness.mean_loss import MeanLoss
from dualadam.flatness.sharpness import sam_sharpness
from dualadam.flatness.spectrum import (
    SpectralDensity,
    TopEigenvalues,
    spectral_density,
    top_eigenvalues,
)

__all__ = [
    "MeanLoss",
    "SpectralDensity",
    "TopEigenvalues",
    "TraceEstimate",
    "hessian_operator",
    "hvp",
    "sam_sharpness",
    "spectral_density",
    "top_eigenvalues",
    "trace",
]
