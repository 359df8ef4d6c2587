"""Quantised weights in a GGUF file, turned into float32 once."""

from __future__ import annotations

import contextlib
import hashlib
import io
import shutil
from pathlib import Path

from dualadam.tasks.files import cache_folder


def dequantised(file: Path) -> Path:
    """Return a folder with the float32 weights of a GGUF file.

    The folder is made on first use, which takes 30 s and four bytes per parameter on disk. One
    process makes it while others wait, since it takes four times its size in memory.
    """
    from filelock import FileLock

    fingerprint = hashlib.sha256(file.read_bytes()).hexdigest()[:16]
    folder = cache_folder() / "models" / f"{file.stem}-{fingerprint}"
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f"{folder.name}.lock"):
        if not folder.is_dir():
            part = folder.parent / f"{folder.name}.part"
            shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
            _dequantise(file, part)
            part.rename(folder)
    return folder


def _dequantise(file: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    with contextlib.redirect_stderr(io.StringIO()):  # hides its progress bar
        model = AutoModelForCausalLM.from_pretrained(**where, dtype="float32")
    # the weights are no longer quantised
    for key in ("quantization_config", "_name_or_path"):
        if hasattr(model.config, key):
            delattr(model.config, key)
    plain = type(model)(type(model.config)(**model.config.to_dict()))
    plain.load_state_dict(model.state_dict())
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)
