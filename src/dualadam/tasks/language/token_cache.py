"""Token sequences that are kept on disk."""

from __future__ import annotations

import hashlib
import json
import uuid
import warnings
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dualadam.tasks.language.sequences import Sequences


def cached_sequences(folder: Path, key: Sequence[Any], make: Callable[[], Sequences]) -> Sequences:
    """Return the sequences that are stored under a key, or make and store them.

    A file appears whole or not at all. A damaged file is made again. Where the folder cannot be
    written, the sequences are made each time, with a warning.

    Args:
        folder: of the cache.
        key: anything that JSON can hold; equal keys must have equal sequences.
        make: makes the sequences.
    """
    file = folder / "tokens" / f"{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]}.npz"
    try:
        with file.open("rb") as stream, np.load(stream) as stored:
            return Sequences(
                stored["tokens"], stored["ends"], stored["prompts"], int(stored["num_truncated"])
            )
    # missing or damaged
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        made = make()
    part = file.with_suffix(f".{uuid.uuid4().hex}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("xb") as output:
            np.savez(
                output,
                tokens=made.tokens,
                ends=made.ends,
                prompts=made.prompts,
                num_truncated=made.num_truncated,
            )
        part.replace(file)
    except OSError as error:
        warnings.warn(f"The tokens are made again next time: {error}.", stacklevel=2)
        part.unlink(missing_ok=True)
    return made
