"""A spec that is started again: what its output folder says where the spec itself does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dualadam.compare.execution import RUNS_FILE
from dualadam.compare.spec import OLDER, Spec
from dualadam.compare.spec_file import SPEC_FILE, load_study_spec
from dualadam.compare.spec_text import SpecError


def continued(spec: Spec, folder: Path) -> Spec:
    """Return the spec of a study that goes on in a folder with runs.

    A key that is younger than the folder keeps the meaning that it had then, and widened ranges
    stay wide. What the spec says itself is not changed; where it differs, the folder is refused
    when it is opened.
    """
    recorded = recorded_spec(folder)
    if recorded is None:
        return spec
    own = spec.model_fields_set
    with_key = json.loads((folder / SPEC_FILE).read_text(encoding="utf-8-sig")).keys()
    changes: dict[str, Any] = {
        key: getattr(recorded, key) for key in OLDER if key not in own | with_key
    }
    if "extended" not in own and recorded.extended:
        changes["extended"] = recorded.extended
    return spec.model_copy(update=changes) if changes else spec


def recorded_spec(folder: Path) -> Spec | None:
    """Return the spec of a folder that has runs; None where it has none, or no readable spec."""
    try:
        if not (folder / RUNS_FILE).exists() or not (folder / SPEC_FILE).exists():
            return None
        return load_study_spec(folder)
    except (SpecError, OSError):  # reported when the folder is opened
        return None
