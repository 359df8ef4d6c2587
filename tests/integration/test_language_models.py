"""Language tasks on real architectures: tiny random Llama and BERT from their configurations, and the real MiniLM, SmolLM2 and texts."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import asdict

import pytest
import torch
from bench_cases import numbers, run_command, run_of
from language_cases import drawn_sequences

from dualadam import DualAdam, decay_groups
from dualadam.bench.tasks import TASKS, FineTuning, get_task, language_models
from dualadam.bench.tasks.language_data import read_corpus
from dualadam.bench.tasks.tokens import attention_within, lay_out, tokenise_dialogues
from dualadam.bench.train import train

pytestmark = [pytest.mark.integration, pytest.mark.filterwarnings("ignore::DeprecationWarning")]
SIZES = {"vocab_size": 40, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
OFFSET = SIZES | {"max_position_embeddings": 34}
DISTILBERT = {"vocab_size": 40, "dim": 16, "n_layers": 3, "n_heads": 2, "hidden_dim": 32, "max_position_embeddings": 34}
ONE_ROUNDING = 1e-5


@pytest.fixture(scope="module", autouse=True)
def _a_cache_of_its_own(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUALADAM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A Llama and a BERT that know thirty words, saved in folders as anybody's models are."""
    import tokenizers
    import transformers

    words = ["[UNK]", "</s>", *(f"w{k}" for k in range(SIZES["vocab_size"] - 2))]
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="[UNK]"))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made = {}
    for name, cls, options in (
        ("llama", transformers.LlamaForCausalLM, {"config": transformers.LlamaConfig(**SIZES, max_position_embeddings=32), "eos": "</s>"}),
        ("bert", transformers.BertModel, {"config": transformers.BertConfig(**SIZES, max_position_embeddings=32), "eos": None}),
    ):
        made[name] = tmp_path_factory.mktemp(name)
        torch.manual_seed(0)
        cls(options["config"]).save_pretrained(made[name])
        transformers.PreTrainedTokenizerFast(tokenizer_object=plain, eos_token=options["eos"]).save_pretrained(made[name])
    return made


SPEC = """
name = "own"
task = "{task}"
model = "{model}"
steps = 4
batch_size = 6
accumulate = 2
points = 1
seeds = 2
evaluations = 2
metric = "{metric}"
primary = {{ arm = "DualAdam", against = "Adam + warm-up", margin = 0.5 }}

[language]
{language}

[[block]]
arm = [
    {{ name = "Adam + warm-up", optimizer = "Adam+warmup", tune = {{ lr = [1e-3, 1e-2], switch_rate = [0.3, 0.9] }} }},
    {{ name = "DualAdam", optimizer = "DualAdam", tune = {{ lr = [1e-3, 1e-2], switch_rate = [0.3, 0.9] }} }},
]
"""


def write_study(folder, **options):
    """A spec, and forty examples of one's own: prompts that are answered by their first words, or texts with its class; some too long."""
    generation = options["task"] == "jsonl-generation"
    rows = []
    for k in range(40):
        words = [f"w{k % 3}", *(f"w{3 + (k * n) % 30}" for n in range(1, 45 if k % 10 == 0 else 6))]
        text = " ".join(words) + f" w{k % 37}"
        rows.append({"prompt": text, "response": " ".join(words[: 1 + k % 3])} if generation else {"text": text, "label": words[0]})
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "own.toml").write_text(SPEC.format(**options))
    return ["compare", folder / "own.toml", "--data", folder, "--workers", "1", "--out", folder / "out"]


@pytest.mark.parametrize(("task", "model", "metric", "language"), [
    ("jsonl-generation", "llama", "perplexity", "packed = true\nmax_new_tokens = 3"),
    ("jsonl-generation", "llama", "exact_match", 'parameters = "lora"\nlora_rank = 2\nmax_new_tokens = 3'),
    ("jsonl-classification", "bert", "macro_f1", 'parameters = "last-1"'),
    ("jsonl-classification", "llama", "accuracy", 'dtype = "bfloat16"\ngradient_checkpointing = true'),
])  # fmt: skip
def test_a_model_in_a_folder_and_lines_of_ones_own_go_the_whole_way(tmp_path, folders, capsys, task, model, metric, language):
    assert run_command(*write_study(tmp_path, task=task, model=folders[model], metric=metric, language=language)) == 0
    out, err = capsys.readouterr()
    assert re.search(r"[-+][\d.]+[ a-z]* \[[-+][\d.]+, [-+][\d.]+\], 2 paired seeds", " ".join(out.split()))  # the sentence of the verdict
    assert ("'Adam + warm-up': torch's classes keep bfloat16" in err) is ("bfloat16" in language)
    report = (tmp_path / "out" / "report.md").read_text()
    cut = re.search(r"Longer than 32 tokens and cut: train (\d), validation (\d), test (\d)\.", report)  # the model reads 32
    assert sum(map(int, cut.groups())) == 4  # of forty every tenth has more
    assert ("training examples no answer was left" in report) is (task == "jsonl-generation")


def test_a_smoke_test_is_marked_stands_beside_the_study_and_never_in_its_folder(tmp_path, folders, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments = write_study(tmp_path, task="jsonl-classification", model=folders["bert"], metric="accuracy", language="")
    assert run_command(*arguments[:-2], "--smoke") == 0
    assert "A smoke test, no verdict." in capsys.readouterr().out
    report = (tmp_path / "runs" / "own-smoke" / "report.md").read_text()
    assert report.startswith("# Smoke test of own")
    assert not (tmp_path / "runs" / "own").exists()
    assert run_command(*arguments) == 0
    capsys.readouterr()
    assert run_command(*arguments, "--smoke") == 2
    assert "holds a study of another spec" in capsys.readouterr().err


ARCHITECTURES = {  # class of the model to save, its configuration, whether it generates
    "DebertaV2": ("Model", OFFSET, False),
    "MPNet": ("Model", OFFSET, False),
    "Roberta": ("Model", OFFSET, False),
    "XLNet": ("Model", {"vocab_size": 40, "d_model": 16, "n_layer": 3, "n_head": 2, "d_inner": 32}, False),
    "DistilBert": ("Model", DISTILBERT, False),
    "Bloom": ("ForCausalLM", {"vocab_size": 40, "hidden_size": 16, "n_layer": 3, "n_head": 2, "bos_token_id": 1, "eos_token_id": 1}, True),
    "GPT2": ("LMHeadModel", {"vocab_size": 40, "n_embd": 16, "n_layer": 3, "n_head": 2, "bos_token_id": 1, "eos_token_id": 1}, True),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_other_architectures_are_fine_tuned_whole_by_adapters_and_in_their_last_layers(tmp_path, folders, name):
    import transformers

    kind, config, generates = ARCHITECTURES[name]
    getattr(transformers, name + kind)(getattr(transformers, f"{name}Config")(**config)).save_pretrained(tmp_path)
    tokenizer = language_models.load_tokenizer(str(folders["llama"]))[0]
    tokenizer.model_max_length = 32  # as its kin have 512 of 514 places
    tokenizer.save_pretrained(tmp_path)
    tokenizer.model_max_length = 10**30
    assert language_models.context_length(str(tmp_path)) == 32
    tokens = torch.randint(2, 40, (2, 32), generator=torch.Generator().manual_seed(0))
    head = transformers.AutoModelForCausalLM if generates else transformers.AutoModelForSequenceClassification
    new = {n.rpartition(".")[0] for n in head.from_pretrained(tmp_path, output_loading_info=True)[1]["missing_keys"]}
    assert bool(new) is not generates
    for parameters in ("full", "lora", "last-1"):
        model = language_models.load_model(tuned(tmp_path, parameters=parameters), None if generates else 3, "cpu").train()
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        optimizer = DualAdam((p for p in model.parameters() if p.requires_grad), lr=1e-2)
        for _ in range(2):  # the second factor of an adapter is 0 at first, so that the first gets no gradient
            model(input_ids=tokens, attention_mask=torch.ones_like(tokens)).logits[..., 0].sum().backward()
            optimizer.step()
        moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
        if parameters == "full":
            assert moved >= {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
            assert len(moved) > 0.7 * len(before)  # not all: what a bias adds before a softmax or a LayerNorm may have no gradient
        elif parameters == "lora":
            whole = {
                n.replace("modules_to_save.default.", "").removeprefix("base_model.model.").rpartition(".")[0]
                for n in moved
                if "lora_" not in n
            }
            assert whole == new
            assert any("lora_" in n for n in moved)
        else:
            layers = {n: int(found[1]) for n in before if (found := re.search(r"\.(?:layers?|h)\.(\d)\.", n))}
            assert {layers[n] for n in moved if n in layers} == {2}  # of three
            assert moved - set(layers) or not new


def test_answers_are_decoded_greedily_whatever_penalties_a_model_comes_with(tmp_path, folders):
    import transformers

    shutil.copytree(folders["llama"], tmp_path / "penalised")
    transformers.GenerationConfig(repetition_penalty=5.0, no_repeat_ngram_size=1).save_pretrained(tmp_path / "penalised")
    prompt = torch.tensor([[5, 6, 7, 8]])
    found = []
    for folder in (folders["llama"], tmp_path / "penalised"):
        for parameters in ("full", "lora"):
            model = language_models.load_model(tuned(folder, parameters=parameters), None, "cpu").eval()
            found.append(language_models.decode_greedily(model, prompt, torch.ones_like(prompt), 8, 1).tolist())
    expected = prompt
    for _ in range(8):
        expected = torch.cat([expected, model(input_ids=expected).logits[:, -1:].argmax(-1)], 1)
    assert found == [expected[:, 4:].tolist()] * 4


def test_tokens_are_not_taken_for_those_of_a_tokenizer_with_another_end(tmp_path, folders):
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(folders["llama"])
    tokenizer.eos_token = "w3"
    tokenizer.save_pretrained(tmp_path)
    assert language_models.load_tokenizer(str(tmp_path))[1] != language_models.load_tokenizer(str(folders["llama"]))[1]


def test_grade_school_problems_are_read_from_the_environments_folder_learnt_and_judged_by_their_number(tmp_path, monkeypatch):
    """The task gsm8k from its files to exact match, on a Llama that learns the one answer by heart."""
    import tokenizers
    import transformers

    words = ["[UNK]", "</s>", "####", *map(str, range(10)), "how", "many", "so"]
    plain = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: k for k, word in enumerate(words)}, unk_token="[UNK]"))
    plain.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SIZES | {"vocab_size": len(words)}, max_position_embeddings=32, bos_token_id=None, eos_token_id=1)
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    transformers.PreTrainedTokenizerFast(tokenizer_object=plain, eos_token="</s>").save_pretrained(tmp_path / "model")
    for part, count, answer in (("train", 60, "#### 7"), ("test", 8, "so #### 7.0")):
        rows = [{"question": f"how many {k % 10} {k // 10}" + " how" * (part == "test"), "answer": answer} for k in range(count)]
        (tmp_path / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setenv("DUALADAM_DATA", str(tmp_path))
    fine = asdict(tuned(tmp_path / "model", max_length=24, max_new_tokens=4))
    run = {"task": "gsm8k", "model": fine.pop("model"), "metric": "exact_match", "language": fine, "evaluate_at_most": None, "subset": None}
    scores = []
    for steps in (1, 60):
        get_task.cache_clear()
        record = train(quick_run(**run, steps=steps, settings={"lr": 1e-2, "switch_rate": 1.0}))
        assert record["num_test"] == 8
        assert record["data"]["examples"] == {"train": 57, "validation": 3, "test": 8}
        scores.append(record["test"]["metrics"]["exact_match"])
    assert scores == [0.0, 100.0]


def test_an_encoder_cannot_generate(tmp_path, folders, capsys):
    arguments = write_study(tmp_path, task="jsonl-generation", model=folders["bert"], metric="perplexity", language="")
    assert run_command(*arguments) == 1
    assert "model must be a causal language model for a generation task" in capsys.readouterr().err


def test_a_dry_run_and_an_estimate_need_no_data(tmp_path, folders, capsys):
    arguments = write_study(tmp_path, task="gsm8k", model=folders["llama"], metric="perplexity", language="max_length = 20")
    assert run_command(*arguments[:2], "--dry-run") == 0
    out, err = capsys.readouterr()
    assert "1 points" not in out
    assert "2 tuning runs, then 4 judged ones" in out
    assert "data must be a folder with train.jsonl and test.jsonl for gsm8k" in err
    assert run_command(*arguments[:2], "--estimate", "--workers", "1") == 0
    assert re.search(r"6 runs of 4 steps, 1 side by side: about \d+ s", capsys.readouterr().out)


def test_a_name_that_is_nowhere_is_refused_in_a_sentence(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)  # what the environment variable sets at import
    with pytest.raises(ValueError, match=r"^model must be a folder, or where there is a network a name on the hub, got 'no/such-model': "):
        language_models.context_length("no/such-model")
    with pytest.raises(FileNotFoundError, match=r"^model must be a folder with config\.json, weights and tokenizer, got './nowhere'\.$"):
        language_models.check(FineTuning("./nowhere"))


def tuned(model="minilm-l6", **options):
    return FineTuning(str(model), **options)


def test_packed_documents_of_a_llama_do_not_attend_to_each_other():
    import transformers

    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SIZES, num_key_value_heads=1, attn_implementation="sdpa")).eval()
    sequences = drawn_sequences(9)
    tokens, documents, _ = lay_out(sequences, range(9), fill=0, row_length=30)
    mask, places = attention_within(documents)
    packed = model(input_ids=tokens, attention_mask=mask, position_ids=places).logits
    alone = {tuple(sequences[k].tolist()): model(input_ids=sequences[k][None]).logits[0] for k in range(9)}
    checked = 0
    for row in range(len(tokens)):
        for number in range(1, int(documents[row].max()) + 1):
            here = documents[row] == number
            torch.testing.assert_close(packed[row][here], alone[tuple(tokens[row][here].tolist())], rtol=1e-4, atol=1e-5)
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
    model = language_models.load_model(tuned(parameters=parameters, lora_rank=4), 5, "cpu")
    found = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert sum(p.numel() for p in found.values()) == trained
    decay, rest = decay_groups(model, 0.1)
    assert sorted(decay["names"] + rest["names"]) == sorted(found)
    assert all(found[name].ndim == 2 for name in decay["names"])
    assert not any("embeddings" in name or "LayerNorm" in name for name in decay["names"])


def test_more_layers_than_there_are_is_refused():
    with pytest.raises(ValueError, match=r"^parameters must name at most the model's 6 layers, got 'last-7'\.$"):
        language_models.load_model(tuned(parameters="last-7"), 5, "cpu")


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("parameters", ["full", "lora"])
def test_checkpointing_gives_the_gradient_without_it_bit_for_bit(dtype, parameters):
    gradients = []
    for checkpointing in (False, True):
        options = tuned(max_length=16, dtype=dtype, parameters=parameters, gradient_checkpointing=checkpointing)
        task = get_task("bbc-news", language=options, subset=32)
        torch.manual_seed(0)
        model = task.make_model("minilm-l6")
        model.train()
        assert any(getattr(module, "gradient_checkpointing", False) for module in model.modules()) is checkpointing
        torch.manual_seed(1)  # of the dropout
        task.loss(model, next(task.batches(8, torch.Generator().manual_seed(0), False))).backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.requires_grad})
    assert all(torch.equal(gradients[0][n], gradients[1][n]) for n in gradients[0])
    kinds = {g.dtype for n, g in gradients[0].items() if "lora" not in n}
    assert kinds == {getattr(torch, dtype)}


def quick_run(**changes):
    fine = {k: v for k, v in asdict(tuned(max_length=16, parameters="last-1")).items() if k != "model"}
    common = {"task": "bbc-news", "model": "minilm-l6", "metric": "accuracy", "language": fine, "steps": 4, "evaluations": 1}
    return run_of(**(common | {"evaluate_at_most": 20, "batch_size": 8, "subset": 64, "optimizer": "DualAdam"} | changes))


def test_the_same_run_of_a_pretrained_model_gives_the_same_record_bit_for_bit():
    run = quick_run(settings={"lr": 1e-3, "switch_rate": 0.3})
    first = train(run)
    torch.manual_seed(7)
    assert numbers(first) == numbers(train(run))
    assert first["num_test"] == 20


def test_minilm_learns_the_news_in_a_few_steps():
    fine = {k: v for k, v in asdict(tuned(max_length=32, parameters="last-2")).items() if k != "model"}
    record = train(
        quick_run(language=fine, steps=25, batch_size=16, subset=None, evaluate_at_most=100, settings={"lr": 1e-3, "switch_rate": 0.3})
    )
    assert record["test"]["metrics"]["accuracy"] > 60  # of five classes; guessing gives 23
    assert record["data"]["examples"] == {"train": 1275, "validation": 319, "test": 531}


def test_flatness_of_a_saved_generator_is_that_of_the_mean_over_all_tokens_of_its_batches(tmp_path, folders):
    write_study(tmp_path, task="jsonl-generation", model=folders["llama"], metric="perplexity", language="")
    language = {"parameters": "last-1", "max_length": 24}
    get_task.cache_clear()
    task = get_task("jsonl-generation", data=str(tmp_path), subset=12, language=tuned(folders["llama"], **language))
    model = task.make_model("").eval()
    checkpoint = {"task": "jsonl-generation", "model": str(folders["llama"]), "language": language, "state_dict": model.state_dict()}
    torch.save(checkpoint, tmp_path / "model.pt")
    options = ["--batch-size", 2, "--examples", 12, "--k", 1]
    assert run_command("flatness", tmp_path / "model.pt", "--data", tmp_path, *options) == 0
    numbers = json.loads((tmp_path / "model.flatness.json").read_text())
    # of the twelve one is all prompt when it is cut, and left out; ten are in full batches
    (whole,) = task.batches(10, torch.Generator().manual_seed(0), augment=False)
    assert numbers["loss"] == pytest.approx(task.loss(model, whole).item(), rel=ONE_ROUNDING)
    assert numbers["num_examples"] == task.weight(whole)
    assert len({task.weight(batch) for batch in task.batches(2, torch.Generator().manual_seed(0), augment=False)}) > 1


@pytest.mark.parametrize(("name", "sizes"), [
    ("bbc-news", (1275, 319, 531)), ("rotten-tomatoes", (7565, 1973, 3214)), ("20-newsgroups", (10_136, 1126, 7521)),
    ("gsm-symbolic", (3567, 924, 1450)),
])  # fmt: skip
def test_a_data_set_has_the_sizes_that_the_list_says_and_no_text_in_two_splits(name, sizes):
    splits = read_corpus(name, None).splits
    assert tuple(map(len, splits.values())) == sizes
    assert TASKS[name].num_train == sizes[0]
    texts = [" ".join(row.text.split()) for rows in splits.values() for row in rows]
    assert len(set(texts)) == len(texts)
    groups = [{row.group for row in rows} for rows in splits.values()]
    if name in ("rotten-tomatoes", "gsm-symbolic"):
        assert sum(map(len, groups)) == len(set.union(*groups)) > 80
    if TASKS[name].language == "classification":
        assert len({row.target for row in splits["train"]}) == TASKS[name].num_classes


def test_smollm2_reads_a_problem_in_its_chat_template_learns_its_answer_and_gives_it_back():
    """The whole way of a generation task on the real model, short: one problem by heart."""
    options = tuned("smollm2-135m-instruct", max_length=128, max_new_tokens=12, packed=True)
    language_models.check(options)
    tokenizer, _ = language_models.load_tokenizer(options.model)
    made = tokenise_dialogues(tokenizer, ["How many are 20 + 22?"], ["Together #### 42"], 128)
    text = tokenizer.decode(made[0])
    assert text.startswith("<|im_start|>system")
    assert text.endswith("<|im_start|>user\nHow many are 20 + 22?<|im_end|>\n<|im_start|>assistant\nTogether #### 42<|im_end|>")
    assert tokenizer.decode(made[0][made.prompts[0] :]) == "Together #### 42<|im_end|>"
    model = language_models.load_model(options, None, "cpu")
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    batch = lay_out(made, [0], language_models.pad_token(tokenizer))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)
    for _ in range(6):
        optimizer.zero_grad()
        loss = model(input_ids=batch.tokens, labels=batch.targets).loss
        loss.backward()
        optimizer.step()
    model.eval()
    prompt = made[0][: made.prompts[0]][None]
    answer = language_models.decode_greedily(model, prompt, torch.ones_like(prompt), 12, tokenizer.eos_token_id)
    assert tokenizer.batch_decode(answer, skip_special_tokens=True) == ["Together #### 42"]
    folder = language_models.cache_folder() / "models"
    assert len(list(folder.iterdir())) == 1  # the folder, and no half of one
