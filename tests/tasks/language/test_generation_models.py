"""Generating models: packed rows, greedy answers, chat templates."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from language_cases import random_sequences
from language_model_cases import SIZES, save_tiny_model, tuned

from dualadam.tasks import get_task
from dualadam.tasks.files import cache_folder
from dualadam.tasks.language.batches import attention_within, lay_out
from dualadam.tasks.language.decoding import decode_greedily
from dualadam.tasks.language.models import load_model
from dualadam.tasks.language.pretrained import (
    check_model,
    load_tokenizer,
    pad_token,
)
from dualadam.tasks.language.sequences import tokenise_dialogues

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("cache_of_its_own"),
]


def generator(folder, **options):
    """The task of answering prompts of one's own with the model of a folder."""
    rows = [{"prompt": f"w{k} w{k + 1}", "response": f"w{k}"} for k in range(30)]
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return get_task("jsonl-generation", data=str(folder), language=tuned(folder, **options))


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


def test_packed_documents_of_a_llama_do_not_attend_to_each_other():
    import transformers

    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(**SIZES, num_key_value_heads=1, attn_implementation="sdpa")
    ).eval()
    sequences = random_sequences(9)
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


def test_smollm2_reads_a_problem_in_its_chat_template_learns_its_answer_and_gives_it_back():
    """A generation task on the real model from end to end: it learns one problem by heart."""
    options = tuned("smollm2-135m-instruct", max_length=128, max_new_tokens=12, packed=True)
    check_model(options)
    tokenizer, _ = load_tokenizer(options.model)
    made = tokenise_dialogues(tokenizer, ["How many are 20 + 22?"], ["Together #### 42"], 128)
    text = tokenizer.decode(made[0])
    assert text.startswith("<|im_start|>system")
    assert text.endswith(
        "<|im_start|>user\nHow many are 20 + 22?<|im_end|>\n"
        "<|im_start|>assistant\nTogether #### 42<|im_end|>"
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


ENCODER = SIZES | {"max_position_embeddings": 34}
ENCODER_DECODER = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "vocab_size": 40,
}


@pytest.mark.parametrize(
    ("name", "model", "config", "reason"),
    [
        ("Roberta", "ForCausalLM", ENCODER, "one whose tokens attend to later tokens"),
        ("Bart", "ForConditionalGeneration", ENCODER_DECODER, "'.*', which has an encoder"),
    ],
)
def test_a_model_that_attends_to_later_tokens_or_has_an_encoder_is_refused(
    tmp_path, name, model, config, reason
):
    import transformers

    folder = save_tiny_model(tmp_path, "LlamaForCausalLM")
    settings = getattr(transformers, f"{name}Config")(**config)
    getattr(transformers, name + model)(settings).save_pretrained(folder)
    with pytest.raises(
        ValueError,
        match=f"^model must be a causal language model for a generation task, got {reason}",
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
        match=r"^packed must be false where .* sliding window, 8, is below max_length, got 16",
    ):
        load_model(tuned(folder, packed=True, max_length=16), None, "cpu")
    load_model(tuned(folder, max_length=16), None, "cpu")


def test_an_answer_does_not_depend_on_the_prompts_beside_it(tmp_path):
    """The model reads 32 tokens: a prompt of 30 leaves two for its answer, one of 4 leaves ten."""
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


def test_a_chat_template_with_todays_date_always_has_the_same_date(tiny_models):
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
