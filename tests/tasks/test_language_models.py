"""Pretrained models, whole and by adapters: tiny random ones of many architectures, and the real MiniLM and SmolLM2."""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from language_cases import drawn_sequences
from language_model_cases import SIZES, save_tiny_model, tuned

from dualadam import DualAdam, decay_groups
from dualadam.tasks import FineTuning, get_task
from dualadam.tasks.files import cache_folder
from dualadam.tasks.language.batches import attention_within, lay_out
from dualadam.tasks.language.decoding import decode_greedily
from dualadam.tasks.language.models import load_model
from dualadam.tasks.language.pretrained import (
    check_model,
    context_length,
    load_tokenizer,
    pad_token,
)
from dualadam.tasks.language.sequences import tokenise_dialogues

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


def test_answers_are_decoded_greedily_whatever_penalties_a_model_comes_with(tmp_path, tiny_models):
    import transformers

    shutil.copytree(tiny_models["llama"], tmp_path / "penalised")
    transformers.GenerationConfig(repetition_penalty=5.0, no_repeat_ngram_size=1).save_pretrained(
        tmp_path / "penalised"
    )
    prompt = torch.tensor([[5, 6, 7, 8]])
    found = []
    for folder in (tiny_models["llama"], tmp_path / "penalised"):
        for parameters in ("full", "lora"):
            model = load_model(tuned(folder, parameters=parameters), None, "cpu").eval()
            found.append(decode_greedily(model, prompt, torch.ones_like(prompt), 8, 1).tolist())
    expected = prompt
    for _ in range(8):
        expected = torch.cat([expected, model(input_ids=expected).logits[:, -1:].argmax(-1)], 1)
    assert found == [expected[:, 4:].tolist()] * 4


def test_tokens_are_not_taken_for_those_of_a_tokenizer_with_another_end(tmp_path, tiny_models):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_models["llama"])
    tokenizer.eos_token = "w3"
    tokenizer.save_pretrained(tmp_path)
    assert load_tokenizer(str(tmp_path))[1] != load_tokenizer(str(tiny_models["llama"]))[1]


def test_a_name_that_is_nowhere_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.setattr(
        "huggingface_hub.constants.HF_HUB_OFFLINE", True
    )  # what the environment variable sets at import
    with pytest.raises(
        ValueError,
        match=r"^model must be a folder, or where there is a network a name on the hub, got 'no/such-model': ",
    ):
        context_length("no/such-model")
    with pytest.raises(
        FileNotFoundError,
        match=r"^model must be a folder with config\.json, weights and tokenizer, got './nowhere'\.$",
    ):
        check_model(FineTuning("./nowhere"))


def test_packed_documents_of_a_llama_do_not_attend_to_each_other():
    import transformers

    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**SIZES, num_key_value_heads=1, attn_implementation="sdpa")
    ).eval()
    sequences = drawn_sequences(9)
    tokens, documents, _ = lay_out(sequences, range(9), pad_token=0, row_length=30)
    mask, places = attention_within(documents)
    packed = model(input_ids=tokens, attention_mask=mask, position_ids=places).logits
    alone = {
        tuple(sequences[k].tolist()): model(input_ids=sequences[k][None]).logits[0]
        for k in range(9)
    }
    checked = 0
    for row in range(len(tokens)):
        for number in range(1, int(documents[row].max()) + 1):
            here = documents[row] == number
            torch.testing.assert_close(
                packed[row][here], alone[tuple(tokens[row][here].tolist())], rtol=1e-4, atol=1e-5
            )
            checked += 1
    assert checked == 9 > len(tokens)


@pytest.mark.parametrize(("parameters", "trained"), [
    # MiniLM: a layer has 4 h^2 + 2 h f weights, 4 h + f + h biases and 4 h of norms, h = 384, f = 1536; pooler h^2 + h; head 5 h + 5
    ("last-2", 2 * (4 * 384**2 + 2 * 384 * 1536 + 5 * 384 + 1536 + 4 * 384) + 384**2 + 384 + 5 * 384 + 5),
    # rank r: r (inputs + outputs) a linear map: 4 attention maps, two of the MLP, in 6 layers, and the pooler; the head whole
    ("lora", 4 * (6 * (4 * 2 * 384 + 2 * (384 + 1536)) + 2 * 384) + 5 * 384 + 5),
    ("full", 22_713_216 + 5 * 384 + 5),
])  # fmt: skip
def test_what_is_trained_is_what_was_asked_for_and_decays_as_it_should(parameters, trained):
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


def test_smollm2_reads_a_problem_in_its_chat_template_learns_its_answer_and_gives_it_back():
    """The whole way of a generation task on the real model, short: one problem by heart."""
    options = tuned("smollm2-135m-instruct", max_length=128, max_new_tokens=12, packed=True)
    check_model(options)
    tokenizer, _ = load_tokenizer(options.model)
    made = tokenise_dialogues(tokenizer, ["How many are 20 + 22?"], ["Together #### 42"], 128)
    text = tokenizer.decode(made[0])
    assert text.startswith("<|im_start|>system")
    assert text.endswith(
        "<|im_start|>user\nHow many are 20 + 22?<|im_end|>\n<|im_start|>assistant\nTogether #### 42<|im_end|>"
    )
    assert tokenizer.decode(made[0][made.prompts[0] :]) == "Together #### 42<|im_end|>"
    model = load_model(options, None, "cpu")
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    batch = lay_out(made, [0], pad_token(tokenizer))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    for _ in range(6):
        optimizer.zero_grad()
        loss = model(input_ids=batch.tokens, labels=batch.targets).loss
        loss.backward()
        optimizer.step()
    model.eval()
    prompt = made[0][: made.prompts[0]][None]
    answer = decode_greedily(model, prompt, torch.ones_like(prompt), 12, tokenizer.eos_token_id)
    assert tokenizer.batch_decode(answer, skip_special_tokens=True) == ["Together #### 42"]
    folder = cache_folder() / "models"
    assert sum(path.is_dir() for path in folder.iterdir()) == 1  # the folder, and no half of one


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
@pytest.mark.parametrize(("change", "lost"), [
    (lambda name: f"_orig_mod.{name}", "which lacks "),  # as a compiled model saves itself
    (lambda name: name.replace("layers.1.", "layers.7."), r"which lacks model\.layers\.1\.input_layernorm\.weight, and has "),
])  # fmt: skip
def test_a_model_of_which_weights_are_missing_is_refused_and_not_drawn_at_random(
    tmp_path, tiny_models, num_classes, change, lost
):
    copy = renamed(tiny_models["llama"], tmp_path, change)
    with pytest.raises(
        ValueError,
        match=r"^model must have all weights that its config\.json asks for, got '.*/copy', "
        + lost,
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


def generator(folder, **options):
    """The task of answering prompts of one's own with the model of a folder."""
    rows = [{"prompt": f"w{k} w{k + 1}", "response": f"w{k}"} for k in range(30)]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return get_task("jsonl-generation", data=str(folder), language=tuned(folder, **options))


def test_a_model_that_sees_later_tokens_or_has_an_encoder_is_no_generator(tmp_path):
    import transformers

    for kind in ("Roberta", "Bart"):
        config = {
            "d_model": 16,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "decoder_attention_heads": 2,
            "vocab_size": 40,
        }
        config = getattr(transformers, f"{kind}Config")(**(OFFSET if kind == "Roberta" else config))
        folder = save_tiny_model(tmp_path / kind, "LlamaForCausalLM")
        getattr(
            transformers,
            f"{kind}{'ForCausalLM' if kind == 'Roberta' else 'ForConditionalGeneration'}",
        )(config).save_pretrained(folder)
        what = {
            "Roberta": "got one whose tokens attend to later tokens",
            "Bart": "got '.*', which has an encoder",
        }[kind]
        with pytest.raises(
            ValueError,
            match=f"^model must be a causal language model for a generation task, {what}",
        ):
            generator(folder, max_length=16).make_model("")


def test_packing_is_refused_where_a_sliding_window_is_shorter_than_the_rows(tmp_path):
    import transformers

    folder = save_tiny_model(tmp_path, "LlamaForCausalLM")
    config = transformers.MistralConfig(
        **SIZES, num_key_value_heads=1, sliding_window=8, max_position_embeddings=32
    )
    transformers.MistralForCausalLM(config).save_pretrained(folder)
    with pytest.raises(
        ValueError,
        match=r"^packed must be false where the model's sliding window, 8, is below max_length, got 16",
    ):
        load_model(tuned(folder, packed=True, max_length=16), None, "cpu")
    load_model(tuned(folder, max_length=16), None, "cpu")


def test_what_would_be_an_index_out_of_range_is_a_sentence(tmp_path, tiny_models):
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


def test_an_answer_does_not_depend_on_the_prompts_beside_it(tmp_path):
    """The model reads 32 tokens: a prompt of 30 leaves two for its answer, and one of 4 has its ten."""
    task = generator(
        save_tiny_model(tmp_path, "LlamaForCausalLM"), max_length=16, max_new_tokens=10
    )
    model = task.make_model("").eval()
    short, long = torch.arange(5, 9), torch.arange(5, 35)
    together = torch.stack([torch.cat([torch.zeros(26, dtype=torch.int64), short]), long])
    mask = torch.ones_like(together)
    mask[0, :26] = 0
    alone = [
        task.decode(model, tokens[None], torch.ones_like(tokens)[None])[0]
        for tokens in (short, long)
    ]
    assert task.decode(model, together, mask) == alone
    assert len(alone[0].split()) > len(alone[1].split()) > 0


def test_a_chat_template_that_tells_the_date_tells_the_same_one_always(tiny_models):
    import copy

    tokenizer = copy.deepcopy(load_tokenizer(str(tiny_models["llama"]))[0])
    tokenizer.chat_template = (
        "{% for turn in messages %}w{{ strftime_now('%Y')[2:] }} {{ turn['content'] }} {% endfor %}"
    )
    assert tokenizer.decode(tokenise_dialogues(tokenizer, ["w7"], ["w8"], 32)[0]).split() == [
        "w26",
        "w7",
        "w8",
        "</s>",
    ]
