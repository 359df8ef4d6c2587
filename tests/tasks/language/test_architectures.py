"""Tiny random models of many architectures are fine-tuned whole, by adapters and in part."""

from __future__ import annotations

import re

import pytest
import torch
from language_model_cases import SIZES, tuned

from dualadam import DualAdam
from dualadam.tasks.language.models import load_model
from dualadam.tasks.language.pretrained import (
    context_length,
    load_tokenizer,
)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("cache_of_its_own"),
]


OFFSET = SIZES | {"max_position_embeddings": 34}


DISTILBERT = {
    "vocab_size": 40,
    "dim": 16,
    "n_layers": 3,
    "n_heads": 2,
    "hidden_dim": 32,
    "max_position_embeddings": 34,
}


ARCHITECTURES = {  # class of the model to save, its configuration, whether it generates
    "DebertaV2": ("Model", OFFSET, False),
    "MPNet": ("Model", OFFSET, False),
    "Roberta": ("Model", OFFSET, False),
    "XLNet": (
        "Model",
        {"vocab_size": 40, "d_model": 16, "n_layer": 3, "n_head": 2, "d_inner": 32},
        False,
    ),
    "DistilBert": ("Model", DISTILBERT, False),
    "Bloom": (
        "ForCausalLM",
        {
            "vocab_size": 40,
            "hidden_size": 16,
            "n_layer": 3,
            "n_head": 2,
            "bos_token_id": 1,
            "eos_token_id": 1,
        },
        True,
    ),
    "GPT2": (
        "LMHeadModel",
        {
            "vocab_size": 40,
            "n_embd": 16,
            "n_layer": 3,
            "n_head": 2,
            "bos_token_id": 1,
            "eos_token_id": 1,
        },
        True,
    ),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_other_architectures_are_fine_tuned_whole_by_adapters_and_in_their_last_layers(
    tmp_path, tiny_models, name
):
    import transformers

    kind, config, generates = ARCHITECTURES[name]
    getattr(transformers, name + kind)(
        getattr(transformers, f"{name}Config")(**config)
    ).save_pretrained(tmp_path)
    tokenizer = load_tokenizer(str(tiny_models["llama"]))[0]
    tokenizer.model_max_length = 32  # as its kin have 512 of 514 places
    tokenizer.save_pretrained(tmp_path)
    tokenizer.model_max_length = 10**30
    assert context_length(str(tmp_path)) == 32
    tokens = torch.randint(2, 40, (2, 32), generator=torch.Generator().manual_seed(0))
    head = (
        transformers.AutoModelForCausalLM
        if generates
        else transformers.AutoModelForSequenceClassification
    )
    new = {
        n.rpartition(".")[0]
        for n in head.from_pretrained(tmp_path, output_loading_info=True)[1]["missing_keys"]
    }
    assert bool(new) is not generates
    for parameters in ("full", "lora", "last-1"):
        model = load_model(
            tuned(tmp_path, parameters=parameters), None if generates else 3, "cpu"
        ).train()
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        optimizer = DualAdam((p for p in model.parameters() if p.requires_grad), lr=1e-2)
        for _ in range(
            2
        ):  # the second factor of an adapter is 0 at first, so that the first gets no gradient
            model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits[
                ..., 0
            ].sum().backward()
            optimizer.step()
        moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
        if parameters == "full":
            assert moved >= {
                n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()
            }
            assert len(moved) > 0.7 * len(
                before
            )  # not all: what a bias adds before a softmax or a LayerNorm may have no gradient
        elif parameters == "lora":
            whole = {
                n.replace("modules_to_save.default.", "")
                .removeprefix("base_model.model.")
                .rpartition(".")[0]
                for n in moved
                if "lora_" not in n
            }
            assert whole == new
            assert any("lora_" in n for n in moved)
        else:
            layers = {
                n: int(found[1])
                for n in before
                if (found := re.search(r"\.(?:layers?|h)\.(\d)\.", n))
            }
            assert {layers[n] for n in moved if n in layers} == {2}  # of three
            assert moved - set(layers) or not new
