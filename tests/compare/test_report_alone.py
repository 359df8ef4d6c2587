"""A report needs the records and what draws it: no data, no model, no optimizer."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

from compare_cases import environment

RECORDS = Path(__file__).parents[2] / "benchmarks" / "records"
# libraries that only training uses (Pillow is not among them: matplotlib needs it)
UNUSED = "sklearn transformers peft tokenizers datasets distributed dask jax optax gguf"
REPORT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in UNUSED:
            raise ImportError(f"{name} is not installed")

UNUSED = set(sys.argv[1].split())
sys.meta_path.insert(0, Missing())

import torch

def refuse(*arguments, **options):
    raise AssertionError("a report builds no optimizer and takes no step")

torch.optim.Optimizer.__init__ = refuse
torch.nn.Module.__call__ = refuse

from dualadam.cli import main

main(["report", sys.argv[2]])
"""


def report(folder: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", REPORT, UNUSED, str(folder)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_recorded_study_is_drawn_without_the_libraries_that_train(tmp_path):
    for file in ("spec.json", "runs.jsonl"):
        shutil.copy(RECORDS / "2026-11-24_rotten-tomatoes_study" / file, tmp_path)
    done = report(tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "report.html").exists()
    assert "paired seeds" in (tmp_path / "report.md").read_text()


def test_a_study_of_a_class_that_is_gone_is_still_drawn(tmp_path):
    recorded = RECORDS / "2026-11-24_digits"
    for file in ("spec.json", "runs.jsonl"):
        text = (recorded / file).read_text()
        (tmp_path / file).write_text(text.replace('"RAdam"', '"gone.RAdam"'))
    (block,) = json.loads((tmp_path / "spec.json").read_text())["block"]
    assert "gone.RAdam" in [arm["optimizer"] for arm in block["arm"]]
    done = report(tmp_path)
    assert done.returncode == 0, done.stderr
    assert "gone.RAdam" in (tmp_path / "report.md").read_text()
