"""Pretrained models, ready to be trained. Needs the extra ``llm``."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from dualadam.errors import InvalidValueError
from dualadam.tasks.language.parameters import choose_layers, with_lora
from dualadam.tasks.language.pretrained import (
    context_length,
    load_pretrained,
    load_tokenizer,
    pad_token,
)
from dualadam.tasks.protocol import FineTuning


def load_model(options: FineTuning, num_classes: int | None, device: str) -> nn.Module:
    """Return a pretrained model of which the chosen parameters are trained.

    New weights are drawn from torch's global generator.

    Args:
        options: the model, and what is trained.
        num_classes: outputs of a new head; None takes the language model's own head.
        device: where the model lives.

    Raises:
        InvalidValueError: the model is not there, lacks weights, or does not fit the options.
    """
    from transformers import AutoConfig

    config = load_pretrained(AutoConfig, options.model)
    check_config(config, options, num_classes)
    common: dict[str, Any] = {"dtype": getattr(torch, options.dtype), "output_loading_info": True}
    if options.packed:
        common["attn_implementation"] = "sdpa"  # takes masks of any shape
    model, info = _with_head(options.model, num_classes, common)
    check_weights(model, info, options.model, num_classes)
    check_sizes(model, options)
    model.config.pad_token_id = pad_token(load_tokenizer(options.model)[0])
    choose_layers(model, options.parameters)
    if options.parameters == "lora":
        new_modules = {name.rpartition(".")[0] for name in uninitialised_weights(info)}
        model = with_lora(model, options, num_classes is not None, sorted(new_modules))
    if options.gradient_checkpointing:
        # the first name is that of later releases
        newer = getattr(model, "activation_checkpointing_enable", None)
        (newer or model.gradient_checkpointing_enable)({"use_reentrant": False})
    return model.to(device)


def _with_head(
    name: str, num_classes: int | None, common: dict[str, Any]
) -> tuple[Any, dict[str, Any]]:
    from transformers import (
        AutoModelForCausalLM,
        AutoModelForSequenceClassification,
        GenerationConfig,
    )

    if num_classes is not None:
        return load_pretrained(
            AutoModelForSequenceClassification,
            name,
            num_labels=num_classes,
            ignore_mismatched_sizes=True,
            **common,
        )
    model, info = load_pretrained(AutoModelForCausalLM, name, **common)
    # answers are compared by plain greedy decoding, without a model's own penalties
    model.generation_config = GenerationConfig()
    return model, info


def check_config(config: Any, options: FineTuning, num_classes: int | None) -> None:
    """Refuse encoders for generation, and packed rows longer than a sliding window.

    Raises:
        InvalidValueError: the configuration does not fit the options.
    """
    if num_classes is None and config.is_encoder_decoder:
        raise InvalidValueError(
            "model must be a causal language model for a generation task, got "
            f"{options.model!r}, which has an encoder."
        )
    window = getattr(config, "sliding_window", None)
    if options.packed and window is not None and window < options.max_length:
        raise InvalidValueError(
            f"packed must be false where the model's sliding window, {window}, is below "
            f"max_length, got {options.max_length}."
        )


def check_weights(model: Any, info: dict[str, Any], name: str, num_classes: int | None) -> None:
    """Refuse a model that lacks weights, which transformers would draw at random.

    The new head of a classifier is not missing, and neither is a pooler between body and head,
    which a language model was trained without.

    Raises:
        InvalidValueError: the message names a missing weight.
    """
    body = f"{model.base_model_prefix}."
    missing = [
        weight
        for weight in uninitialised_weights(info)
        if num_classes is None or (weight.startswith(body) and "pooler" not in weight)
    ]
    if missing:
        unexpected = info["unexpected_keys"]
        instead = f", and has {min(unexpected)} instead" if unexpected else ""
        raise InvalidValueError(
            f"model must have all weights that its config.json asks for, got {name!r}, which lacks "
            f"{missing[0]}{instead}."
        )


def uninitialised_weights(info: dict[str, Any]) -> list[str]:
    """Return the weights that were drawn at random: missing, or stored in another shape."""
    return sorted({*info["missing_keys"], *(row[0] for row in info["mismatched_keys"])})


def check_sizes(model: Any, options: FineTuning) -> None:
    """Refuse what would be an index out of range: tokens or positions without an embedding.

    Raises:
        InvalidValueError: the message has both numbers.
    """
    embedded = model.get_input_embeddings().num_embeddings
    known = len(load_tokenizer(options.model)[0])
    if known > embedded:
        raise InvalidValueError(
            f"model must embed all {known} tokens of its tokenizer, got {options.model!r}, which "
            f"embeds {embedded}."
        )
    for name, module in model.named_modules():
        if (
            name.endswith("position_embeddings")
            and isinstance(module, nn.Embedding)
            and module.padding_idx is not None
        ):
            # RoBERTa and similar models leave the first positions free
            positions = module.num_embeddings - module.padding_idx - 1
            if positions < min(options.max_length, context_length(options.model)):
                raise InvalidValueError(
                    f"max_length must be at most {positions}, the positions of "
                    f"{options.model!r}, got {options.max_length}."
                )
