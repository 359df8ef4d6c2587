"""InvAdam and DualAdam as optax transformations (extra ``jax``).

The files here import jax and optax, and no torch. The parent package, which Python imports first,
imports torch with the first name that needs it.
"""

from dualadam.errors import MissingExtraError

try:
    from dualadam.jax.diagnostics import Diagnosis, GroupDiagnosis, diagnose
    from dualadam.jax.directions import scale_by_dualadam, scale_by_invadam
    from dualadam.jax.optimizers import dualadam, invadam
    from dualadam.jax.schedule import switch_rate_for
except ModuleNotFoundError as error:
    if error.name not in ("jax", "optax"):
        raise
    raise MissingExtraError(
        "dualadam.jax needs the extra `jax`: pip install 'dualadam[jax]'"
    ) from error

__all__ = [
    "Diagnosis",
    "GroupDiagnosis",
    "diagnose",
    "dualadam",
    "invadam",
    "scale_by_dualadam",
    "scale_by_invadam",
    "switch_rate_for",
]
