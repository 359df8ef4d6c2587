"""A model that is missing or incomplete is refused, and only the chosen parameters train."""

from __future__ import annotations

import shutil

import pytest
import torch
from language_model_cases import SIZES, tuned

from dualadam import decay_groups
from dualadam.tasks import get_task
from dualadam.tasks.language.models import load_model
from dualadam.tasks.language.pretrained import (
    load_tokenizer,
)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("cache_of_its_own"),
]


OFFSET = SIZES | {"max_position_embeddings": 34}


def test_tokens_are_not_taken_for_those_of_a_tokenizer_with_another_end(tmp_path, tiny_models):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_models["llama"])
    tokenizer.eos_token = "w3"
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path))[1] != load_tokenizer(str(tiny_models["llama"]))[1]


H, F = 384, 1536  # MiniLM's width and that of its MLPs
LAYER = (4 * H**2 + 2 * H * F) + (4 * H + F + H) + 4 * H  # weights, biases, norms
POOLER, HEAD = H**2 + H, 5 * H + 5
# LoRA of rank r has r (inputs + outputs) parameters per linear map: in each of 6 layers 4 maps of
# the attention and 2 of the MLP, and the pooler
LORA_OF_RANK_ONE = 6 * (4 * 2 * H + 2 * (H + F)) + 2 * H


@pytest.mark.parametrize(
    ("parameters", "trained"),
    [
        ("last-2", 2 * LAYER + POOLER + HEAD),
        ("lora", 4 * LORA_OF_RANK_ONE + HEAD),
        ("full", 22_713_216 + HEAD),
    ],
)
def test_the_chosen_parameters_are_trained_and_matrices_alone_decay(parameters, trained):
    model = load_model(tuned(parameters=parameters, lora_rank=4), 5, "cpu")
    found = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert sum(p.numel() for p in found.values()) == trained
    decay, rest = decay_groups(model, 0.1)
    assert sorted(decay["names"] + rest["names"]) == sorted(found)
    assert all(found[name].ndim == 2 for name in decay["names"])
    assert not any("embeddings" in name or "LayerNorm" in name for name in decay["names"])


def test_more_layers_than_there_are_is_refused():
    with pytest.raises(
        ValueError, match=r"^parameters must name at most the model's 6 layers, got 'last-7'\.$"
    ):
        load_model(tuned(parameters="last-7"), 5, "cpu")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("parameters", ["full", "lora"])
def test_checkpointing_gives_the_gradient_without_it_bit_for_bit(dtype, parameters):
    gradients = []
    for checkpointing in (False, True):
        options = tuned(
            max_length=16, dtype=dtype, parameters=parameters, gradient_checkpointing=checkpointing
        )
        task = get_task("bbc-news", language=options, subset=32)
        torch.manual_seed(0)
        model = task.make_model("minilm-l6")
        model.train()
        assert (
            any(getattr(module, "gradient_checkpointing", False) for module in model.modules())
            is checkpointing
        )
        torch.manual_seed(1)  # of the dropout
        task.loss(model, next(task.batches(8, torch.Generator().manual_seed(0), False))).backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    assert all(torch.equal(gradients[0][n], gradients[1][n]) for n in gradients[0])
    kinds = {g.dtype for n, g in gradients[0].items() if "lora" not in n}
    assert kinds == {getattr(torch, dtype)}


def renamed(folder, tmp_path, change):
    """A copy of a model whose weights have other names."""
    from safetensors.torch import load_file, save_file

    copy = shutil.copytree(folder, tmp_path / "copy")
    weights = load_file(copy / "model.safetensors")
    save_file(
        {change(name): tensor for name, tensor in weights.items()},
        copy / "model.safetensors",
        {"format": "pt"},
    )
    return copy


@pytest.mark.parametrize("num_classes", [None, 3])
@pytest.mark.parametrize(
    ("change", "lost"),
    [
        (lambda name: f"_orig_mod.{name}", ""),  # as a compiled model saves itself
        (
            lambda name: name.replace("layers.1.", "layers.7."),
            r"model\.layers\.1\.input_layernorm\.weight, and has ",
        ),
    ],
)
def test_a_model_that_lacks_weights_is_refused(tmp_path, tiny_models, num_classes, change, lost):
    copy = renamed(tiny_models["llama"], tmp_path, change)
    with pytest.raises(
        ValueError,
        match=f"^model must have all weights .*, got '.*/copy', which lacks {lost}",
    ):
        load_model(tuned(copy), num_classes, "cpu")


def test_a_classifier_of_other_classes_gets_a_new_head(tmp_path, tiny_models):
    import transformers

    five = transformers.AutoModelForSequenceClassification.from_pretrained(
        tiny_models["bert"], num_labels=5
    )
    five.save_pretrained(tmp_path)
    load_tokenizer(str(tiny_models["bert"]))[0].save_pretrained(tmp_path)
    for parameters in ("full", "lora"):
        model = load_model(tuned(tmp_path, parameters=parameters), 3, "cpu")
        heads = {n: p for n, p in model.named_parameters() if "classifier" in n and p.requires_grad}
        assert {tuple(p.shape) for p in heads.values()} == {(3, 16), (3,)}


def test_tokens_and_positions_without_an_embedding_are_refused(tmp_path, tiny_models):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(
        shutil.copytree(tiny_models["bert"], tmp_path / "bert")
    )
    tokenizer.add_tokens(["more"])
    tokenizer.save_pretrained(tmp_path / "bert")
    with pytest.raises(
        ValueError,
        match=r"^model must embed all 41 tokens of its tokenizer, got .* which embeds 40",
    ):
        load_model(tuned(tmp_path / "bert"), 3, "cpu")
    transformers.RobertaModel(transformers.RobertaConfig(**OFFSET)).save_pretrained(
        tmp_path / "roberta"
    )
    load_tokenizer(str(tiny_models["llama"]))[0].save_pretrained(tmp_path / "roberta")
    with pytest.raises(
        ValueError, match=r"^max_length must be at most 32, the positions of .*, got 512"
    ):
        load_model(tuned(tmp_path / "roberta"), 3, "cpu")
