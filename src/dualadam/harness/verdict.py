"""What an interval says about a claim."""

from __future__ import annotations

from enum import StrEnum


class Verdict(StrEnum):
    """The outcome of a comparison, or of a claim of the theory."""

    BETTER = "better"
    WORSE = "worse"
    EQUIVALENT = "equivalent"  # the interval lies within the margin
    NOT_DECIDED = "not decided"  # the interval allows more than one outcome
    DEMONSTRATION = "demonstration"  # too few seeds for a verdict, whatever the interval says
    NO_VERDICT = "no verdict"  # nothing differs between the arms, or between the seeds
    CONTROL = "control"  # the arm that the others are compared with
    HELD = "held"  # theory and measurement agree
    NOT_HELD = "not held"
    FAILS = "fails"  # a formula is shown outside the conditions under which it holds
    FAILURE_NOT_SEEN = "failure not seen"
