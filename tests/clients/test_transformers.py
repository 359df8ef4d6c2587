"""decay_groups and training on small random BERT and Llama models; nothing is downloaded."""

from __future__ import annotations

import pytest
import torch

from dualadam import DualAdam, decay_groups, diagnose, switch_rate_for

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def bert():
    transformers = pytest.importorskip("transformers")
    return transformers.BertForMaskedLM(
        transformers.BertConfig(**SIZES, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
    )


def llama():
    transformers = pytest.importorskip("transformers")
    return transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, num_key_value_heads=2))


def vit():
    transformers = pytest.importorskip("transformers")
    sizes = {k: v for k, v in SIZES.items() if k != "vocab_size"}
    return transformers.ViTForImageClassification(
        transformers.ViTConfig(**sizes, image_size=8, patch_size=4)
    )


BERT_LAYER = {"query", "key", "value", "dense"}
LLAMA_LAYER = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}


@pytest.mark.parametrize(
    ("make", "linear", "undecayed"),
    [
        (
            bert,
            BERT_LAYER,
            {
                "bert.embeddings.word_embeddings.weight",
                "bert.embeddings.position_embeddings.weight",
            },
        ),
        (llama, LLAMA_LAYER | {"lm_head"}, {"model.embed_tokens.weight", "model.norm.weight"}),
        (
            vit,
            None,
            {
                "vit.embeddings.cls_token",
                "vit.embeddings.position_embeddings",
                "vit.layernorm.weight",
            },
        ),
    ],
    ids=["BERT", "Llama", "ViT"],
)
def test_only_matrices_of_linear_maps_decay(make, linear: set[str] | None, undecayed: set[str]):
    model = make()
    decay, rest = decay_groups(model, 0.1)
    assert undecayed <= set(rest["names"])
    params = dict(model.named_parameters())
    assert sorted(decay["names"] + rest["names"]) == sorted(params)  # a tied head is listed once
    maps = (torch.nn.Linear, torch.nn.Conv2d)
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, torch.nn.Embedding)}
    expected = {
        f"{n}.weight"
        for n, m in model.named_modules()
        if isinstance(m, maps) and id(m.weight) not in embeddings
    }
    assert set(decay["names"]) == expected
    if linear:
        assert {name.split(".")[-2] for name in decay["names"]} == linear


def test_llama_trains_in_bfloat16_with_float32_state():
    torch.manual_seed(0)
    model = llama().bfloat16()
    optimizer = DualAdam(decay_groups(model, 0.1), lr=1e-2, switch_rate=switch_rate_for(40))
    tokens = torch.randint(0, 40, (4, 12))
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = model(input_ids=tokens, labels=tokens).loss
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]  # it learns four sentences by heart
    assert all(state["exp_avg"].dtype == torch.float32 for state in optimizer.state.values())
    assert [row.mixing_weight for row in diagnose(optimizer)] == [0.0, 0.0]
