"""DualAdam at its released settings, which the theory does not describe."""

from __future__ import annotations

from dualadam.diffusion import quasi_equilibrium_threshold
from dualadam.harness.verdict import Verdict
from dualadam.studies.escape_landscapes.effort import Effort
from dualadam.studies.escape_landscapes.experiment import LIMITS, Experiment, Results
from dualadam.studies.escape_landscapes.row import Row

SWITCH_RATE, LR, BATCH_SIZE = 8e-5, 1e-2, 128


class DualAdamAsReleased(Experiment):
    """Nothing is simulated: the threshold is far above the second moments of training."""

    name = "dualadam_as_released"
    table = LIMITS
    claim = "DualAdam at its released settings"

    def __init__(self, effort: Effort) -> None:
        pass

    def rows(self, results: Results) -> list[Row]:
        """Return the threshold."""
        threshold = quasi_equilibrium_threshold(SWITCH_RATE, LR, BATCH_SIZE)
        return [
            Row(
                "DualAdam as released: v above (xi / (lr B))^(2/5)",
                Verdict.FAILS,
                theory=threshold,
                note="second moment needed for quasi-equilibrium while the inverse part leads; "
                "measured in training: 1e-7 ... 1e-3",
            )
        ]
