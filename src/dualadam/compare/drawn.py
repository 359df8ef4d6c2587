"""What tables and figures of a study have in common, finished or not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from dualadam.compare.arm_summary import TunedArm
from dualadam.compare.spec import Spec


class Drawn(Protocol):
    """A study and what there is of its arms."""

    @property
    def spec(self) -> Spec:
        """The study."""
        ...

    @property
    def arms(self) -> Sequence[TunedArm]:
        """The arms, block after block."""
        ...


def label(study: Drawn, row: TunedArm) -> str:
    """Return the arm's name, with its block's where there are several blocks."""
    return f"{row.arm} ({row.block})" if len(study.spec.block) > 1 else row.arm
