"""The hand-over in the logs of transformers' Trainer: TensorBoard, trackio, and its own history."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import torch
from callback_cases import HAND_OVER, LOOKED_AT, STEPS, WATCH, tensorboard_curve
from tool_cases import TOOL_WARNINGS, sentences, tiny_llama

from dualadam import DualAdam, InvAdam
from dualadam.errors import InvalidTypeError

pytestmark = [pytest.mark.integration, *map(pytest.mark.filterwarnings, TOOL_WARNINGS)]
OURS = (DualAdam, {"lr": 1e-3, "switch_rate": 1 / HAND_OVER})


def trainer_of(
    folder: Path, optimizer: tuple[Any, dict[str, Any]] = OURS, kind: Any = None, **more: Any
) -> Any:
    from transformers import Trainer, TrainingArguments

    from dualadam.callbacks.transformers import DiagnoseCallback

    settings = {"max_steps": STEPS, "per_device_train_batch_size": 4, "logging_steps": 7}
    settings |= {"report_to": [], "save_strategy": "no", "lr_scheduler_type": "constant"}
    arguments = TrainingArguments(
        str(folder), use_cpu=True, disable_tqdm=True, **{**settings, **more}
    )
    rows = [{"input_ids": row, "labels": row} for row in sentences(48)]
    trainer = (kind or Trainer)(
        tiny_llama(), arguments, train_dataset=rows, optimizer_cls_and_kwargs=optimizer
    )
    trainer.add_callback(DiagnoseCallback(trainer, **WATCH))
    return trainer


def history(trainer: Any, key: str) -> dict[int, float]:
    return {row["step"]: row[key] for row in trainer.state.log_history if key in row}


def test_the_history_has_every_row_that_is_due_and_the_mixing_weight_of_its_step(tmp_path: Path):
    trainer = trainer_of(tmp_path, gradient_accumulation_steps=2)
    trainer.train()
    alphas = history(trainer, "dualadam/group0/mixing_weight")
    assert list(alphas) == LOOKED_AT
    assert alphas == pytest.approx({t: max(0.0, 1 - t / HAND_OVER) for t in LOOKED_AT})
    assert list(history(trainer, "loss")) == [7, 14, 21]  # the Trainer's own rows stay


def test_tensorboards_files_hold_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    trainer = trainer_of(tmp_path, report_to=["tensorboard"])
    trainer.train()
    for key in ("mixing_weight", "second_moment_mean", "effective_weight", "ratio"):
        name = f"dualadam/group0/{key}"
        logged = tensorboard_curve(tmp_path / "board", f"train/{name}")
        assert list(logged) == LOOKED_AT
        assert logged == pytest.approx(history(trainer, name), rel=1e-6)  # stored as float32


def test_trackios_local_folder_holds_the_rows(tmp_path: Path):
    pytest.importorskip("trackio", reason="make test-integrations installs it")
    name = "dualadam/group0/mixing_weight"
    program = Path(__file__).with_name("trackio_program.py")
    run = subprocess.run(
        [sys.executable, str(program), str(tmp_path), name],
        capture_output=True,
        text=True,
        check=True,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TRACKIO_DIR": str(tmp_path / "trackio"),
            "HF_HUB_OFFLINE": "1",
        },
    )
    told = {int(step): value for step, value in json.loads(run.stdout.splitlines()[-1]).items()}
    with closing(sqlite3.connect(tmp_path / "trackio" / "watched.db")) as database:
        rows = [json.loads(row) for (row,) in database.execute("SELECT metrics FROM metrics")]
    key = f"train/{name}"
    curve = {row["train/global_step"]: row[key] for row in rows if key in row}
    assert list(curve) == LOOKED_AT
    assert curve == pytest.approx(told)


@pytest.mark.parametrize("kind", ["fused", "bfloat16 state", "InvAdam"])
def test_other_paths_and_invadam_are_watched_too(tmp_path: Path, kind: str):
    optimizer: tuple[Any, dict[str, Any]] = {
        "fused": (DualAdam, {**OURS[1], "fused": True}),
        "bfloat16 state": (DualAdam, {**OURS[1], "fused": True, "state_dtype": "bfloat16"}),
        "InvAdam": (InvAdam, {"lr": 1e-2}),
    }[kind]
    trainer = trainer_of(tmp_path, optimizer)
    trainer.train()
    steps = list(history(trainer, "dualadam/group1/effective_weight"))
    assert steps == ([1, 6, 12, 18, 24] if kind == "InvAdam" else LOOKED_AT)


def test_a_resumed_training_is_watched_on(tmp_path: Path):
    trainer_of(tmp_path, save_strategy="steps", save_steps=10).train()
    resumed = trainer_of(tmp_path)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-10"))
    alphas = history(resumed, "dualadam/group0/mixing_weight")
    assert [step for step in alphas if step > 10] == [11, 12, 18, 24]


@pytest.mark.parametrize(
    ("settings", "optimizer", "text"),
    [
        (
            {"warmup_steps": 6, "lr_scheduler_type": "linear"},
            {},
            "the warm-up of a scheduler and the hand-over multiply",
        ),
        ({"max_steps": 5}, {}, "training has 5: DualAdam does not become Adam"),
        ({}, {"loss": 300.0}, "The inverse part grows with the square of the loss scale"),
    ],
    ids=["warm-up", "short training", "large gradients"],
)
def test_each_mistake_is_warned_of_once(
    tmp_path: Path, settings: dict[str, Any], optimizer: dict[str, Any], text: str
):
    from transformers import Trainer

    class Scaled(Trainer):
        def compute_loss(self, *arguments: Any, **more: Any) -> Any:
            return optimizer.get("loss", 1.0) * super().compute_loss(*arguments, **more)

    trainer = trainer_of(tmp_path, kind=Scaled, max_grad_norm=0.0, **settings)
    with pytest.warns(UserWarning, match=text) as caught:
        trainer.train()
    assert sum("hand-over" in str(w.message) or text in str(w.message) for w in caught) == 1


def test_without_dualadam_the_training_is_refused_with_the_remedy(tmp_path: Path):
    trainer = trainer_of(tmp_path, (torch.optim.AdamW, {"lr": 1e-3}))
    with pytest.raises(InvalidTypeError, match=r"got AcceleratedOptimizer\. Give the Trainer"):
        trainer.train()


def test_the_callback_wants_the_trainer():
    from dualadam.callbacks.transformers import DiagnoseCallback

    with pytest.raises(InvalidTypeError, match=r"trainer must be a Trainer of transformers, got N"):
        DiagnoseCallback(None)
