"""The types of the values of a spec, with their ranges."""

from __future__ import annotations

import math
from dataclasses import asdict, fields
from typing import Annotated, Any, Literal, NoReturn

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from dualadam.compare.spec_text import nearest
from dualadam.errors import InvalidValueError
from dualadam.tasks import FineTuning


def refuse(message: str, *at: str | int) -> NoReturn:
    """Refuse a value; ``at`` is its place below the table that is being checked."""
    raise PydanticCustomError("spec", "{text}", {"text": message, "at": list(at)})


def _range(bounds: list[float]) -> list[float]:
    if len(bounds) != 2 or not 0 < bounds[0] < bounds[1]:
        refuse(
            "must be a range [low, high] with 0 < low < high (it is sampled on a logarithmic "
            f"scale), got {bounds}"
        )
    return bounds


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        for item in value:
            _plain(item)
        return value
    is_finite = isinstance(value, int | float) and math.isfinite(value) and abs(value) <= 1e12
    if not (is_finite or isinstance(value, str)):
        refuse(
            "must be true, false, a string, a finite number up to 1e12 or a list of these, "
            f"got {value!r}"
        )
    return value


def _language(table: dict[str, Any]) -> dict[str, Any]:
    """Check the table and fill in the defaults, both those of ``FineTuning``."""
    known = [field.name for field in fields(FineTuning) if field.name != "model"]
    for key, value in table.items():
        if key not in known:
            refuse(f"is not a key of a spec; {nearest(key, known)}", key)
        try:
            FineTuning("any", **{key: value})
        except InvalidValueError as error:
            refuse(str(error).removeprefix(f"{key} "), key)
    whole = asdict(FineTuning("any", **table))
    return {key: whole[key] for key in known}


Finite = Annotated[float, Field(allow_inf_nan=False, le=1e12, ge=-1e12)]
Range = Annotated[list[Finite], AfterValidator(_range)]
Plain = Annotated[Any, AfterValidator(_plain)]
Name = Annotated[str, Field(min_length=1, max_length=60, pattern=r"^[^\x00-\x1f|<>]+$")]
FileName = Annotated[
    str, Field(min_length=1, max_length=80, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
]
Language = Annotated[dict[str, Any], AfterValidator(_language)]
Schedule = Literal["constant", "linear", "cosine"]
