"""A widened range: part of a spec, so that it says which points were added and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

Side = Literal["low", "high"]
LIMITS = {"switch_rate": 1.0}  # the largest value of a setting, beyond which no range is widened


class Widened(NamedTuple):
    """A range after an extension, and the part of it that the new points are drawn from."""

    whole: list[float]
    new: list[float]


class Extension(BaseModel):
    """One range made wider at one end, by the same factor in every arm that tunes the setting.

    Attributes:
        setting: its name, such as lr.
        side: the end of the range.
        factor: by which the end is moved.
        points: that every arm gets in addition, also arms that do not tune the setting.
        round: 1, 2, ...; the extensions of one round were decided together.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    setting: str
    side: Side
    factor: Annotated[float, Field(gt=1, le=1e6)]
    points: Annotated[int, Field(ge=1, le=10_000)]
    round: Annotated[int, Field(ge=1, le=100)]

    def widen(self, bounds: list[float]) -> Widened:
        """Return a range with its end moved. At a setting's limit the range stays as it is.

        Example:
            >>> more = Extension(setting="lr", side="high", factor=4.0, points=2, round=1)
            >>> more.widen([0.01, 0.1])
            Widened(whole=[0.01, 0.4], new=[0.1, 0.4])
        """
        low, high = bounds
        if self.side == "low":
            return Widened([low / self.factor, high], [low / self.factor, low])
        limit = LIMITS.get(self.setting, float("inf"))
        if high >= limit:
            return Widened(bounds, bounds)
        end = min(high * self.factor, limit)
        return Widened([low, end], [high, end])


def extension_sentence(extensions: Sequence[Extension]) -> str:
    """Return what was widened, and by how many points; empty where nothing was."""
    if not extensions:
        return ""
    ends = ", ".join(
        f"{more.setting} {'downwards' if more.side == 'low' else 'upwards'} by a factor of "
        f"{more.factor:g}"
        for more in extensions
    )
    points = sum(more.points for more in extensions)
    return f"Ranges widened for all arms: {ends}; {points} more points for every arm."
