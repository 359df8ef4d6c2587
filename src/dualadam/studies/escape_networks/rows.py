"""A finished piece of the study as a line of rows.jsonl."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, Self


@dataclass(frozen=True)
class Row(ABC):
    """The base of all rows: a dataclass whose fields are the values of a JSON object.

    Attributes:
        JSON_NAMES: names of the fields in the file, where they differ.
    """

    JSON_NAMES: ClassVar[Mapping[str, str]] = {}

    @property
    @abstractmethod
    def key(self) -> str:
        """The name of the piece; unique within a study."""

    def to_json(self) -> dict[str, Any]:
        """Return the line: the key and the fields."""
        content = asdict(self)
        return {"key": self.key} | {self.JSON_NAMES.get(k, k): v for k, v in content.items()}

    @classmethod
    def from_json(cls, line: Mapping[str, Any]) -> Self:
        """Return the row of a line, with tuples for JSON's lists."""
        values = {f.name: line[cls.JSON_NAMES.get(f.name, f.name)] for f in fields(cls)}
        return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
