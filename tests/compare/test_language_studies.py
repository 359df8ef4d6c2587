"""Studies of language tasks on JSON lines with tiny random models."""

from __future__ import annotations

import json
import re
import shutil

import pytest
from compare_cases import numbers, run_command
from language_study_cases import write_language_study

from dualadam.compare.execution import read_records
from dualadam.compare.run import Record

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.usefixtures("cache_of_its_own"),
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
def test_a_model_in_a_folder_is_compared_on_json_lines_from_files_to_report(
    tmp_path, tiny_models, capsys, task, model, metric, language
):
    arguments = write_language_study(
        tmp_path, task=task, model=tiny_models[model], metric=metric, language=language
    )
    assert run_command(*arguments) == 0
    out, err = capsys.readouterr()
    verdict = r"[-+][\d.]+[ a-z]* \[[-+][\d.]+, [-+][\d.]+\], 2 paired seeds"
    assert re.search(verdict, " ".join(out.split()))
    warned = "'Adam + warm-up': torch's optimizers keep the state of bfloat16" in err
    assert warned is ("bfloat16" in language)
    report = (tmp_path / "out" / "report.md").read_text()
    # the model reads 32 tokens, and every tenth of forty texts has more
    cut = re.search(r"Cut at 32 tokens: train (\d), validation (\d), test (\d)\.", report)
    assert sum(map(int, cut.groups())) == 4
    assert ("No answer was left after the cut: train" in report) is (task == "jsonl-generation")


def test_a_smoke_test_is_marked_and_has_a_folder_of_its_own(
    tmp_path, tiny_models, capsys, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    arguments = write_language_study(
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
    arguments = write_language_study(
        tmp_path,
        task="jsonl-generation",
        model=tiny_models["bert"],
        metric="perplexity",
        language="",
    )
    assert run_command(*arguments) == 2
    assert "model must be a causal language model for a generation task" in capsys.readouterr().err


def test_a_wrong_line_is_reported_once_and_before_the_study_has_a_folder(
    tmp_path, tiny_models, capsys
):
    arguments = write_language_study(
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
    arguments = write_language_study(
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


def test_a_study_does_not_continue_with_other_texts_or_weights(tmp_path, tiny_models, capsys):
    model = shutil.copytree(tiny_models["bert"], tmp_path / "bert")
    arguments = write_language_study(
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


def test_a_spec_that_is_corrected_before_its_first_run_ended_may_use_its_folder(
    tmp_path, tiny_models, capsys
):
    options = {"task": "jsonl-classification", "model": tiny_models["bert"], "metric": "accuracy"}

    def status(layers):
        language = f'parameters = "last-{layers}"'
        return run_command(*write_language_study(tmp_path, **options, language=language))

    assert status(9) == 1
    assert "parameters must name at most the model's 3 layers" in capsys.readouterr().err
    assert status(2) == 0
    assert status(1) == 2
    assert "holds a study with other settings" in capsys.readouterr().err
