"""Which parameters of a pretrained model are trained."""

from __future__ import annotations

import re
import warnings
from typing import Any

from torch import nn

from dualadam.errors import InvalidValueError
from dualadam.tasks.protocol import FineTuning

LAST_LAYERS = re.compile(r"last-(\d+)")


def with_lora(
    model: nn.Module, options: FineTuning, classification: bool, new_modules: list[str]
) -> nn.Module:
    """Return the model with low-rank updates of all its linear maps except the head's.

    Args:
        model: a pretrained model.
        options: rank and alpha of the updates.
        classification: whether the model has a head for classes.
        new_modules: modules whose weights are new; they are trained whole.
    """
    from peft import LoraConfig, TaskType, get_peft_model

    # peft saves modules of these two names by itself
    outside = [name for name in new_modules if not {"classifier", "score"} & set(name.split("."))]
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS if classification else TaskType.CAUSAL_LM,
        r=options.lora_rank,
        lora_alpha=options.lora_alpha,
        lora_dropout=0.0,
        target_modules="all-linear",
        exclude_modules=new_modules or None,
        modules_to_save=outside or None,
    )
    with warnings.catch_warnings():
        # peft uses a name that transformers deprecates
        warnings.simplefilter("ignore", FutureWarning)
        # peft says so after it has corrected the setting, for GPT-2
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to False")
        return get_peft_model(model, config)


def choose_layers(model: Any, parameters: str) -> None:
    """Freeze all but the last N layers and what follows them, for ``parameters`` = "last-N".

    Raises:
        InvalidValueError: the model has fewer layers, or no list of layers.
    """
    last = LAST_LAYERS.fullmatch(parameters)
    if last is None:
        return
    wanted, depth = int(last[1]), model.config.num_hidden_layers
    lists = [
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == depth
    ]
    if not lists:
        raise InvalidValueError(
            "parameters must be 'full' or 'lora' for a model without a list of layers, got "
            f"{parameters!r}."
        )
    if wanted > depth:
        raise InvalidValueError(
            f"parameters must name at most the model's {depth} layers, got {parameters!r}."
        )
    frozen = tuple(f"{name}.{k}." for name in lists for k in range(depth - wanted))
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    for name, param in model.named_parameters():
        param.requires_grad_(
            not (name.startswith(frozen) or "embed" in name or id(param) in embeddings)
        )
