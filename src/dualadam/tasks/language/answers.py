"""When a decoded answer counts as right."""

from __future__ import annotations

import re

_NUMBER = re.compile(r"####\s*\$?(-?[\d,]*\.?\d+)")


def final_number(text: str) -> float | None:
    """Return the number after the first ``####``; None where there is none.

    Example:
        >>> final_number("48 + 24 = 72, so #### 1,072.0"), final_number("#### -$5")
        (1072.0, None)
        >>> final_number("72")
    """
    found = _NUMBER.search(text)
    return float(found[1].replace(",", "")) if found else None


def same_number(answer: str, response: str) -> bool:
    """Whether an answer ends in the number of the response."""
    return final_number(answer) is not None and final_number(answer) == final_number(response)


def same_text(answer: str, response: str) -> bool:
    """Whether two texts are equal apart from white space."""
    return answer.split() == response.split()
