"""The hand-over in the loggers of Lightning's Trainer: TensorBoard, CSV, and MLflow's interface."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
import torch
from callback_cases import HAND_OVER, LOOKED_AT, STEPS, WATCH, tensorboard_curve
from tool_cases import TOOL_WARNINGS

from dualadam import DualAdam
from dualadam.errors import InvalidTypeError

pytestmark = [
    pytest.mark.integration,
    *map(pytest.mark.filterwarnings, TOOL_WARNINGS),
    # Lightning's hints about this small training
    pytest.mark.filterwarnings("ignore:The '.*dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:The number of training batches"),
    pytest.mark.filterwarnings("ignore:You're resuming from a checkpoint that ended before"),
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec:FutureWarning"),
]


def module_of(make: Any = None, scale: float = 1.0, scheduler: Any = None) -> Any:
    import lightning.pytorch as lightning

    class Regression(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net = torch.nn.Linear(4, 1)

        def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
            (x,) = batch
            return 0.1 * scale * (self.net(x) - x.sum(1, True)).square().mean()

        def configure_optimizers(self) -> Any:
            optimizer = make(self.parameters()) if make else ours(self.parameters())
            if scheduler is None:
                return optimizer
            return [optimizer], [{"scheduler": scheduler(optimizer), "interval": "step"}]

    return Regression()


def ours(params: Any, **more: Any) -> DualAdam:
    return DualAdam(params, **{"lr": 1e-3, "switch_rate": 1 / HAND_OVER, **more})


def trainer_of(folder: Path, **more: Any) -> Any:
    import lightning.pytorch as lightning

    from dualadam.callbacks.lightning import DiagnoseCallback

    settings = {"max_steps": STEPS, "logger": False, "enable_checkpointing": False}
    settings |= {"enable_progress_bar": False, "enable_model_summary": False}
    return lightning.Trainer(
        accelerator="cpu",
        default_root_dir=str(folder),
        callbacks=[DiagnoseCallback(**WATCH)],
        **{**settings, **more},
    )


def loader() -> Any:
    inputs = 0.1 * torch.randn(48, 4, generator=torch.Generator().manual_seed(0))
    return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(inputs), batch_size=4)


@pytest.mark.parametrize("accumulated", [1, 2])
def test_every_logger_gets_the_rows_that_are_due(tmp_path: Path, accumulated: int):
    from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

    loggers = [TensorBoardLogger(str(tmp_path / "board")), CSVLogger(str(tmp_path / "csv"))]
    trainer = trainer_of(tmp_path, logger=loggers, accumulate_grad_batches=accumulated)
    trainer.fit(module_of(), loader())
    name = "dualadam/group0/mixing_weight"
    expected = {step: max(0.0, 1 - step / HAND_OVER) for step in LOOKED_AT}
    assert tensorboard_curve(tmp_path / "board", name) == pytest.approx(expected, rel=1e-6)
    (file,) = (tmp_path / "csv").rglob("metrics.csv")
    with file.open(newline="") as lines:
        rows = {int(row["step"]): float(row[name]) for row in csv.DictReader(lines)}
    assert rows == pytest.approx(expected)


def test_a_resumed_training_is_watched_on(tmp_path: Path):
    from lightning.pytorch.loggers import TensorBoardLogger

    first = trainer_of(tmp_path, max_steps=10)
    first.fit(module_of(), loader())
    first.save_checkpoint(tmp_path / "saved.ckpt")
    board = TensorBoardLogger(str(tmp_path / "board"))
    resumed = trainer_of(tmp_path, logger=board)
    resumed.fit(module_of(), loader(), ckpt_path=str(tmp_path / "saved.ckpt"))
    curve = tensorboard_curve(tmp_path / "board", "dualadam/group0/mixing_weight")
    assert list(curve) == [11, 12, 18, 24]


def warm_up(optimizer: Any) -> Any:
    return torch.optim.lr_scheduler.LinearLR(optimizer, 0.1, total_iters=6)


@pytest.mark.parametrize(
    ("module", "settings", "text"),
    [
        ({"scheduler": warm_up}, {}, "the warm-up of a scheduler and the hand-over multiply"),
        ({}, {"max_steps": 5}, "training has 5: DualAdam does not become Adam"),
        ({}, {"max_steps": -1, "max_epochs": 2, "limit_train_batches": 3}, "training has 6"),
        ({"scale": 300.0}, {}, "The inverse part grows with the square of the loss scale"),
    ],
    ids=["warm-up", "few steps", "few epochs", "large gradients"],
)
def test_each_mistake_is_warned_of_once(
    tmp_path: Path, module: dict[str, Any], settings: dict[str, Any], text: str
):
    with pytest.warns(UserWarning, match=text) as caught:
        trainer_of(tmp_path, **settings).fit(module_of(**module), loader())
    assert sum("hand-over" in str(w.message) or text in str(w.message) for w in caught) == 1


def test_without_dualadam_the_training_is_refused_with_the_remedy(tmp_path: Path):
    adamw = module_of(make=torch.optim.AdamW)
    with pytest.raises(InvalidTypeError, match=r"got AdamW\. Return DualAdam\(self\.parameters"):
        trainer_of(tmp_path).fit(adamw, loader())


def test_two_optimizers_in_manual_optimization_have_rows_of_their_own(tmp_path: Path):
    import lightning.pytorch as lightning
    from lightning.pytorch.loggers import TensorBoardLogger

    class TwoNets(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.automatic_optimization = False
            self.nets = torch.nn.ModuleList([torch.nn.Linear(4, 1) for _ in range(2)])

        def training_step(self, batch: list[torch.Tensor], _: int) -> None:
            for net, optimizer in zip(self.nets, self.optimizers(), strict=True):
                optimizer.zero_grad()
                self.manual_backward(net(batch[0]).square().mean())
                optimizer.step()

        def configure_optimizers(self) -> Any:
            return [ours(self.nets[0].parameters()), ours(self.nets[1].parameters())]

    board = TensorBoardLogger(str(tmp_path / "board"))
    trainer_of(tmp_path, logger=board, max_steps=2 * STEPS).fit(TwoNets(), loader())
    for index in range(2):
        curve = tensorboard_curve(
            tmp_path / "board", f"dualadam/optimizer{index}/group0/mixing_weight"
        )
        assert curve[2] == pytest.approx(1 - 1 / HAND_OVER)  # one step of each
        assert curve[48] == 0.0


def test_the_callback_serves_the_package_pytorch_lightning_too(tmp_path: Path):
    pytorch_lightning = pytest.importorskip("pytorch_lightning")
    from dualadam.callbacks.lightning import DiagnoseCallback

    class Regression(pytorch_lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Linear(4, 1)

        def training_step(self, batch: list[torch.Tensor], _: int) -> torch.Tensor:
            return self.net(batch[0]).square().mean()

        def configure_optimizers(self) -> Any:
            return ours(self.parameters())

    board = pytorch_lightning.loggers.TensorBoardLogger(str(tmp_path / "board"))
    pytorch_lightning.Trainer(
        accelerator="cpu",
        max_steps=STEPS,
        logger=board,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[DiagnoseCallback(**WATCH)],
    ).fit(Regression(), loader())
    assert list(tensorboard_curve(tmp_path / "board", "dualadam/group0/ratio")) == LOOKED_AT
