"""The lines of docs/launchers.md that can be run here: TRL's SFTTrainer and LightningCLI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from tool_cases import TOOL_WARNINGS, tiny_llama

from dualadam import DualAdam, switch_rate_for

pytestmark = [
    pytest.mark.integration,
    *map(pytest.mark.filterwarnings, TOOL_WARNINGS),
    pytest.mark.filterwarnings("ignore:The '.*dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
    pytest.mark.filterwarnings("ignore::UserWarning"),  # hints of TRL and Lightning
]


def test_sfttrainer_of_trl_trains_with_dualadam_and_logs_the_hand_over(tmp_path: Path):
    trl = pytest.importorskip("trl", reason="make test-integrations installs it")
    from datasets import Dataset
    from transformers import ByT5Tokenizer

    from dualadam.callbacks.transformers import DiagnoseCallback

    tokenizer = ByT5Tokenizer()
    arguments = trl.SFTConfig(
        str(tmp_path),
        max_steps=10,
        per_device_train_batch_size=2,
        use_cpu=True,
        bf16=False,
        report_to=[],
        save_strategy="no",
        disable_tqdm=True,
        lr_scheduler_type="constant",
    )
    trainer = trl.SFTTrainer(
        tiny_llama(vocab_size=len(tokenizer)),
        arguments,
        train_dataset=Dataset.from_dict({"text": ["one and one is two", "a colour is green"] * 4}),
        processing_class=tokenizer,
        optimizer_cls_and_kwargs=(
            DualAdam,
            {"lr": 1e-3, "switch_rate": switch_rate_for(arguments.max_steps, 0.5)},
        ),
    )
    trainer.add_callback(DiagnoseCallback(trainer, every=5))
    trainer.train()
    assert isinstance(trainer.optimizer.optimizer, DualAdam)
    key = "dualadam/group0/mixing_weight"
    alphas = {row["step"]: row[key] for row in trainer.state.log_history if key in row}
    assert alphas == pytest.approx({1: 0.8, 2: 0.6, 3: 0.4, 4: 0.2, 5: 0.0, 10: 0.0})


CLI_YAML = """
optimizer:
  class_path: dualadam.DualAdam
  init_args:
    lr: 1e-3
    switch_rate: 0.125
    betas: [0.9, 0.99]
    state_dtype: bfloat16
    stochastic_rounding: true
trainer:
  accelerator: cpu
  max_steps: 8
  logger: false
  enable_checkpointing: false
  enable_progress_bar: false
  enable_model_summary: false
  callbacks:
    - class_path: dualadam.callbacks.lightning.DiagnoseCallback
      init_args:
        every: 4
"""


def test_lightningcli_makes_dualadam_and_its_callback_from_the_yaml_file(tmp_path: Path):
    pytest.importorskip("jsonargparse", reason="make test-integrations installs it")
    import lightning.pytorch as lightning
    from lightning.pytorch.cli import LightningCLI

    class Regression(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(4, 1)

        def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
            return self.net(batch[0]).square().mean()

        def train_dataloader(self) -> Any:
            rows = torch.utils.data.TensorDataset(torch.randn(32, 4))
            return torch.utils.data.DataLoader(rows, batch_size=4)

    file = tmp_path / "train.yaml"
    file.write_text(CLI_YAML)
    cli = LightningCLI(Regression, save_config_callback=None, args=["fit", "--config", str(file)])
    (optimizer,) = cli.trainer.optimizers
    assert isinstance(optimizer, DualAdam)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["switch_rate"]) == (1e-3, 0.125)
    assert tuple(group["betas"]) == (0.9, 0.99)
    states = optimizer.state.values()
    assert {state["exp_avg"].dtype for state in states} == {torch.bfloat16}
    assert {float(state["step"]) for state in states} == {8}
