"""Runs of pretrained models: what they learn, that they repeat, how flat they end."""

from __future__ import annotations

import json

import pytest
import torch
from compare_cases import numbers, run_command
from language_model_cases import quick_run, save_tiny_model, tuned
from language_study_cases import write_language_study

from dualadam.compare.train import train
from dualadam.tasks import get_task

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("cache_of_its_own"),
]


ONE_ROUNDING = 1e-5


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


def test_flatness_of_a_saved_generator_weighs_every_token_of_its_batches_alike(
    tmp_path, tiny_models
):
    write_language_study(
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


def test_flatness_uses_all_examples_where_there_are_few(tmp_path, tiny_models, capsys):
    write_language_study(
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
