"""Studies of language tasks, from their files to the report.

They use JSON lines with tiny random models, and real texts with MiniLM.
"""

from __future__ import annotations

import json
import re
import shutil

import pytest
import torch
from compare_cases import numbers, run_command
from language_model_cases import quick_run, save_tiny_model, tuned

from dualadam.compare.execution import read_records
from dualadam.compare.run import Record
from dualadam.compare.train import train
from dualadam.tasks import TASKS, get_task

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("cache_of_its_own"),
]
ONE_ROUNDING = 1e-5


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
    {{ name = "Adam + warm-up", optimizer = "Adam+warmup", tune = {tune} }},
    {{ name = "DualAdam", optimizer = "DualAdam", tune = {tune} }},
]
"""
TUNE = "{ lr = [1e-3, 1e-2], switch_rate = [0.3, 0.9] }"


def write_study(folder, **options):
    """Write a spec and forty examples, some too long; return the command that runs them.

    The answer to a prompt is its first words; the label of a text is its first word.
    """
    generation = options["task"] == "jsonl-generation"
    rows = []
    for k in range(40):
        words = [f"w{k % 3}", *(f"w{3 + (k * n) % 30}" for n in range(1, 45 if k % 10 == 0 else 6))]
        text = " ".join(words) + f" w{k % 37}"
        rows.append(
            {"prompt": text, "response": " ".join(words[: 1 + k % 3])}
            if generation
            else {"text": text, "label": words[0]}
        )
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "own.toml").write_text(SPEC.format(**options, tune=TUNE))
    return [
        "compare",
        folder / "own.toml",
        "--data",
        folder,
        "--workers",
        "1",
        "--out",
        folder / "out",
    ]


LORA = 'parameters = "lora"\nlora_rank = 2\nmax_new_tokens = 3'
HALF_PRECISION = 'dtype = "bfloat16"\ngradient_checkpointing = true'
WHOLE_WAY = [
    ("jsonl-generation", "llama", "perplexity", "packed = true\nmax_new_tokens = 3"),
    ("jsonl-generation", "llama", "exact_match", LORA),
    ("jsonl-classification", "bert", "macro_f1", 'parameters = "last-1"'),
    ("jsonl-classification", "llama", "accuracy", HALF_PRECISION),
]


@pytest.mark.parametrize(("task", "model", "metric", "language"), WHOLE_WAY)
def test_a_model_in_a_folder_and_lines_of_ones_own_go_the_whole_way(
    tmp_path, tiny_models, capsys, task, model, metric, language
):
    assert (
        run_command(
            *write_study(
                tmp_path, task=task, model=tiny_models[model], metric=metric, language=language
            )
        )
        == 0
    )
    out, err = capsys.readouterr()
    assert re.search(
        r"[-+][\d.]+[ a-z]* \[[-+][\d.]+, [-+][\d.]+\], 2 paired seeds", " ".join(out.split())
    )  # the sentence of the verdict
    assert ("'Adam + warm-up': torch's optimizers keep the state of bfloat16" in err) is (
        "bfloat16" in language
    )
    report = (tmp_path / "out" / "report.md").read_text()
    cut = re.search(
        r"Cut at 32 tokens: train (\d), validation (\d), test (\d)\.", report
    )  # the model reads 32
    assert sum(map(int, cut.groups())) == 4  # of forty every tenth has more
    assert ("No answer was left after the cut: train" in report) is (task == "jsonl-generation")


def test_a_smoke_test_is_marked_stands_beside_the_study_and_never_in_its_folder(
    tmp_path, tiny_models, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    arguments = write_study(
        tmp_path,
        task="jsonl-classification",
        model=tiny_models["bert"],
        metric="accuracy",
        language="",
    )
    assert run_command(*arguments[:-2], "--smoke") == 0
    assert "A smoke test, no verdict." in capsys.readouterr().out
    report = (tmp_path / "runs" / "own-smoke" / "report.md").read_text()
    assert report.startswith("# Smoke test of own")
    assert not (tmp_path / "runs" / "own").exists()
    assert run_command(*arguments) == 0
    capsys.readouterr()
    assert run_command(*arguments, "--smoke") == 2
    assert "holds a study with other settings" in capsys.readouterr().err


def test_an_encoder_cannot_generate(tmp_path, tiny_models, capsys):
    arguments = write_study(
        tmp_path,
        task="jsonl-generation",
        model=tiny_models["bert"],
        metric="perplexity",
        language="",
    )
    assert run_command(*arguments) == 2
    assert "model must be a causal language model for a generation task" in capsys.readouterr().err


def test_what_is_wrong_with_a_file_is_told_once_before_there_is_a_folder(
    tmp_path, tiny_models, capsys
):
    arguments = write_study(
        tmp_path,
        task="jsonl-classification",
        model=tiny_models["bert"],
        metric="accuracy",
        language="",
    )
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write('\n{"text": "w1"}\n')
    assert run_command(*arguments) == 2
    assert capsys.readouterr().err.count("line 41") == 1
    assert not (tmp_path / "out").exists()


def test_a_dry_run_and_an_estimate_need_no_data(tmp_path, tiny_models, capsys):
    arguments = write_study(
        tmp_path,
        task="gsm8k",
        model=tiny_models["llama"],
        metric="perplexity",
        language="max_length = 20",
    )
    assert run_command(*arguments[:2], "--dry-run") == 0
    out, err = capsys.readouterr()
    assert "1 points" not in out
    assert "2 tuning runs, then 4 judged runs" in out
    assert "data must be a folder with train.jsonl and test.jsonl for gsm8k" in err
    assert run_command(*arguments[:2], "--estimate", "--workers", "1") == 0
    assert re.search(r"6 runs of 4 steps, 1 side by side: about \d+ s", capsys.readouterr().out)


def test_grade_school_problems_are_learnt_and_scored_by_their_number(tmp_path, monkeypatch):
    """The task gsm8k from its files to exact match, with a Llama that learns the only answer."""
    words = ["[UNK]", "</s>", "####", *map(str, range(10)), "how", "many", "so"]
    save_tiny_model(
        tmp_path / "model", "LlamaForCausalLM", words, bos_token_id=None, eos_token_id=1
    )
    for part, count, answer in (("train", 60, "#### 7"), ("test", 8, "so #### 7.0")):
        rows = [
            {
                "question": f"how many {k % 10} {k // 10}" + " how" * (part == "test"),
                "answer": answer,
            }
            for k in range(count)
        ]
        (tmp_path / f"{part}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    monkeypatch.setenv("DUALADAM_DATA", str(tmp_path))
    fine = tuned(tmp_path / "model", max_length=24, max_new_tokens=4)
    run = {
        "task": "gsm8k",
        "model": fine.model,
        "metric": "exact_match",
        "language": fine,
        "evaluate_at_most": None,
        "subset": None,
    }
    scores = []
    for steps in (1, 60):
        get_task.cache_clear()
        record = train(quick_run(**run, steps=steps, settings={"lr": 1e-2, "switch_rate": 1.0}))
        assert record.num_test == 8
        assert record.data["examples"] == {"train": 57, "validation": 3, "test": 8}
        scores.append(record.test.metrics["exact_match"])
    assert scores == [0.0, 100.0]


def test_the_same_run_of_a_pretrained_model_gives_the_same_record_bit_for_bit():
    run = quick_run(settings={"lr": 1e-3, "switch_rate": 0.3})
    first = train(run)
    torch.manual_seed(7)
    assert numbers(first) == numbers(train(run))
    assert first.num_test == 20


def test_minilm_learns_the_news_in_a_few_steps():
    record = train(
        quick_run(
            language=tuned(max_length=32, parameters="last-2"),
            steps=25,
            batch_size=16,
            subset=None,
            evaluate_at_most=100,
            settings={"lr": 1e-3, "switch_rate": 0.3},
        )
    )
    assert record.test.metrics["accuracy"] > 60  # of five classes; guessing gives 23
    assert record.data["examples"] == {"train": 1275, "validation": 319, "test": 531}


def test_flatness_of_a_saved_generator_is_that_of_the_mean_over_all_tokens_of_its_batches(
    tmp_path, tiny_models
):
    write_study(
        tmp_path,
        task="jsonl-generation",
        model=tiny_models["llama"],
        metric="perplexity",
        language="",
    )
    language = {"parameters": "last-1", "max_length": 24}
    get_task.cache_clear()
    task = get_task(
        "jsonl-generation",
        data=str(tmp_path),
        subset=12,
        language=tuned(tiny_models["llama"], **language),
    )
    model = task.make_model("").eval()
    checkpoint = {
        "task": "jsonl-generation",
        "model": str(tiny_models["llama"]),
        "language": language,
        "state_dict": model.state_dict(),
    }
    torch.save(checkpoint, tmp_path / "model.pt")
    options = ["--batch-size", 2, "--examples", 12, "--k", 1]
    assert run_command("flatness", tmp_path / "model.pt", "--data", tmp_path, *options) == 0
    numbers = json.loads((tmp_path / "model.flatness.json").read_text())
    # of the twelve one is all prompt when it is cut, and left out; ten are in full batches
    (whole,) = task.batches(10, torch.Generator().manual_seed(0), augment=False)
    assert numbers["loss"] == pytest.approx(task.loss(model, whole).item(), rel=ONE_ROUNDING)
    assert numbers["num_examples"] == task.weight(whole)
    assert (
        len(
            {
                task.weight(batch)
                for batch in task.batches(2, torch.Generator().manual_seed(0), augment=False)
            }
        )
        > 1
    )


@pytest.mark.parametrize(("name", "sizes"), [
    ("bbc-news", (1275, 319, 531)),
    ("rotten-tomatoes", (7565, 1973, 3214)),
    ("20-newsgroups", (10_136, 1126, 7521)),
    ("gsm-symbolic", (3567, 924, 1450)),
])  # fmt: skip
def test_a_data_set_has_the_sizes_that_the_list_says_and_no_text_in_two_splits(name, sizes):
    splits = TASKS[name].corpus(None).splits
    assert tuple(map(len, splits.values())) == sizes
    assert TASKS[name].num_train == sizes[0]
    texts = [" ".join(row.text.split()) for rows in splits.values() for row in rows]
    assert len(set(texts)) == len(texts)
    groups = [{row.group for row in rows} for rows in splits.values()]
    if name in ("rotten-tomatoes", "gsm-symbolic"):
        assert sum(map(len, groups)) == len(set.union(*groups)) > 80
    if TASKS[name].language == "classification":
        assert len({row.target for row in splits["train"]}) == TASKS[name].num_classes


def test_prompts_that_leave_no_answer_are_refused(tmp_path, tiny_models):
    rows = [
        {"prompt": " ".join(f"w{(k + j) % 30}" for j in range(20)), "response": f"w{k}"}
        for k in range(30)
    ]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(
        ValueError,
        match=r"^max_length must leave a part of the answer of some train example, got 16, which",
    ):
        get_task(
            "jsonl-generation",
            data=str(tmp_path),
            language=tuned(tiny_models["llama"], max_length=16),
        )


def test_one_class_is_no_classification(tmp_path, tiny_models):
    (tmp_path / "train.jsonl").write_text(
        "\n".join(json.dumps({"text": f"w{k}", "label": "a"}) for k in range(30))
    )
    with pytest.raises(
        ValueError,
        match=r"^The training split of 'jsonl-classification' must have .*, got 'a' alone; check",
    ):
        get_task("jsonl-classification", data=str(tmp_path), language=tuned(tiny_models["bert"]))


def test_a_study_does_not_go_on_with_other_texts_or_weights(tmp_path, tiny_models, capsys):
    model = shutil.copytree(tiny_models["bert"], tmp_path / "bert")
    arguments = write_study(
        tmp_path,
        task="jsonl-classification",
        model=model,
        metric="accuracy",
        language="max_length = 16",
    )
    assert run_command(*arguments) == 0
    runs, data, weights = (
        tmp_path / "out" / "runs.jsonl",
        tmp_path / "train.jsonl",
        model / "model.safetensors",
    )
    whole = runs.read_text().splitlines(keepends=True)
    runs.write_text("".join(whole[:-1]))
    for file, content, what in (
        (data, data.read_bytes().replace(b"w5 ", b"w6 "), "texts"),
        (weights, weights.read_bytes()[:-1] + b"?", "weights"),
    ):
        before = file.read_bytes()
        file.write_bytes(content)
        assert run_command(*arguments) == 1
        assert f"The {what} changed since the runs in" in " ".join(capsys.readouterr().err.split())
        assert runs.read_text() == "".join(whole[:-1])
        file.write_bytes(before)
    assert run_command(*arguments) == 0
    *_, last = read_records(tmp_path / "out")
    assert numbers(last) == numbers(Record.from_json(json.loads(whole[-1])))


def test_a_spec_that_is_put_right_before_its_first_run_ended_may_use_its_folder(
    tmp_path, tiny_models, capsys
):
    options = {"task": "jsonl-classification", "model": tiny_models["bert"], "metric": "accuracy"}
    assert run_command(*write_study(tmp_path, **options, language='parameters = "last-9"')) == 1
    assert "parameters must name at most the model's 3 layers" in capsys.readouterr().err
    assert run_command(*write_study(tmp_path, **options, language='parameters = "last-2"')) == 0
    assert run_command(*write_study(tmp_path, **options, language='parameters = "last-1"')) == 2
    assert "holds a study with other settings" in capsys.readouterr().err


def test_flatness_of_few_examples_of_ones_own_is_that_of_all(tmp_path, tiny_models, capsys):
    write_study(
        tmp_path,
        task="jsonl-classification",
        model=tiny_models["bert"],
        metric="accuracy",
        language="",
    )
    get_task.cache_clear()
    task = get_task("jsonl-classification", data=str(tmp_path), language=tuned(tiny_models["bert"]))
    checkpoint = {
        "task": "jsonl-classification",
        "model": str(tiny_models["bert"]),
        "state_dict": task.make_model("").state_dict(),
    }
    torch.save(checkpoint, tmp_path / "model.pt")
    assert run_command("flatness", tmp_path / "model.pt", "--data", tmp_path, "--k", 1) == 0
    assert f"on {task.num_train} training examples" in " ".join(capsys.readouterr().out.split())
