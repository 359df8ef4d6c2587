"""What the tests of training tools share: small models, tokens and optimizers.

Nothing is downloaded.

Dropout is on in the models, so a run that loses the state of a random generator is seen.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.optim import AdamW

from dualadam import DualAdam

# What the tools themselves warn of on a machine without a GPU, or about each other's versions
TOOL_WARNINGS = (
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore:'pin_memory' argument is set as true:UserWarning",
)
STEPS, HAND_OVER = 12, 6
MIXED = {"lr": 1e-2, "switch_rate": 1 / HAND_OVER}
OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer], dict[str, Any]]] = {
    "AdamW": (AdamW, {"lr": 1e-2}),
    "AdamW fused": (AdamW, {"lr": 1e-2, "fused": True}),
    "DualAdam": (DualAdam, MIXED),
    "DualAdam foreach": (DualAdam, {**MIXED, "foreach": True}),
    "DualAdam fused": (DualAdam, {**MIXED, "fused": True}),
    "DualAdam bfloat16 state": (
        DualAdam,
        # one seed: runs that are made side by side are compared bit for bit
        {**MIXED, "fused": True, "state_dtype": "bfloat16", "stochastic_rounding": True}
        | {"rounding_seed": 0},
    ),
}
ADAMW_TWINS: tuple[
    tuple[type[torch.optim.Optimizer], dict[str, Any]], ...
] = (  # one is the other from the first step on
    (AdamW, {"lr": 1e-2, "foreach": False}),
    (DualAdam, {"lr": 1e-2, "foreach": False, "switch_rate": 1.0}),
)
every_optimizer = pytest.mark.parametrize("name", OPTIMIZERS)


def tiny_llama(**more: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "num_key_value_heads": 2,
    }
    return LlamaForCausalLM(
        LlamaConfig(**{"vocab_size": 40, "attention_dropout": 0.1, **sizes, **more})
    )


def tiny_bert() -> Any:
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    sizes = {
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    return BertForSequenceClassification(BertConfig(vocab_size=40, num_labels=3, **sizes))


def sentences(num: int = 24) -> torch.Tensor:
    return torch.randint(0, 40, (num, 12), generator=torch.Generator().manual_seed(1))


def trained(model: Any) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters() if p.requires_grad]


def same_bits(one: list[torch.Tensor], other: list[torch.Tensor]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) for a, b in zip(one, other, strict=True)
    )
