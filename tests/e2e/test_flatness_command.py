"""`dualadam flatness`: a table, a figure and numbers of a saved model; bad input is explained."""

from __future__ import annotations

import json
import os

import pytest
import torch

from dualadam import InvAdam
from dualadam.cli import main
from dualadam.flatness import MeanLoss, preconditioned_sharpness, top_eigenvalues
from dualadam.tasks import get_task


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with checkpoints of an untrained model, good ones and bad ones."""
    folder = tmp_path_factory.mktemp("checkpoints")
    torch.manual_seed(0)
    weights = get_task("digits").make_model("small-cnn").state_dict()
    for name, content in {
        "named": {"task": "digits", "model": "small-cnn", "state_dict": weights},
        "bare": weights,
        "half": {"model": "small-cnn", "state_dict": weights},
        "future": {"task": "imagenet-9000", "model": "small-cnn", "state_dict": weights},
        "other": {
            "task": "digits",
            "model": "small-cnn",
            "state_dict": {"layer.weight": torch.ones(3)},
        },
        "foreign optimizer": {
            "task": "digits",
            "model": "small-cnn",
            "state_dict": weights,
            "optimizer": "SGD",
        },
        "stateless": {
            "task": "digits",
            "model": "small-cnn",
            "state_dict": weights,
            "optimizer": "InvAdam",
        },
        "optimizer of another model": {
            "task": "digits",
            "model": "small-cnn",
            "state_dict": weights,
            "optimizer": "InvAdam",
            "optimizer_state_dict": InvAdam([torch.ones(3, requires_grad=True)]).state_dict(),
        },
        "groups without names": {
            "task": "digits",
            "model": "small-cnn",
            "state_dict": weights,
            "optimizer": "InvAdam",
            "optimizer_state_dict": InvAdam(
                [{"params": [torch.ones(3, requires_grad=True)]} for _ in range(2)]
            ).state_dict(),
        },
        "numbers": {"accuracy": 0.9},
        "list": [1, 2, 3],
    }.items():
        torch.save(content, folder / f"{name}.pt")
    (folder / "garbage.pt").write_bytes(b"not a checkpoint")
    torch.save(Trap(folder / "sprung"), folder / "trap.pt")
    return folder


class Trap:
    """Makes a folder when it is unpickled, as a hostile checkpoint may."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def run(*arguments):
    with pytest.raises(SystemExit) as exit_:
        main(["flatness", *map(str, arguments)])
    return exit_.value.code


def test_a_checkpoint_is_measured_drawn_and_stored_as_numbers(tmp_path, capsys):
    task = get_task("digits", subset=48)
    model = task.make_model("small-cnn")
    everything = list(task.batches(48, torch.Generator(), augment=False))
    optimizer = InvAdam(model.named_parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        task.loss(model, everything[0]).backward()
        optimizer.step()
    content = {
        "task": "digits",
        "model": "small-cnn",
        "state_dict": model.state_dict(),
        "optimizer": "InvAdam",
        "optimizer_state_dict": optimizer.state_dict(),
    }
    torch.save(content, tmp_path / "trained.pt")
    figure = tmp_path / "new" / "a.png"
    options = ["--examples", 48, "--batch-size", 24, "--k", 2, "--out", figure]
    assert run(tmp_path / "trained.pt", *options) == 0
    printed = capsys.readouterr().out
    assert "trained.pt: small-cnn on 48 training examples of digits" in printed
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert figure.with_stem("a.directions").read_bytes().startswith(b"\x89PNG")
    numbers = json.loads(figure.with_suffix(".json").read_text())

    loss = MeanLoss(model, task.loss, everything)
    expected = top_eigenvalues(loss, 2).values
    # float32; the error of an eigenvalue is its residual (1e-4) squared
    assert numbers["top"]["values"] == pytest.approx(expected.tolist(), rel=1e-5)
    assert f"{expected[0]:.4g}" in printed
    seen = preconditioned_sharpness(loss, optimizer)
    assert numbers["preconditioned"]["value"] == pytest.approx(seen.value, rel=1e-5)
    assert numbers["preconditioned"]["threshold"] == pytest.approx(3800)
    assert f"{seen.ratio:.3g} of 3800" in printed
    assert numbers["highest_sharpness"] >= numbers["sharpness"]
    for row in ("trace of the density", "relative flatness", "preconditioned sharpness"):
        assert row in printed
    assert numbers["num_examples"] == 48
    assert set(numbers) >= {
        "loss",
        "gradient_norm",
        "trace",
        "density",
        "sharpness",
        "adaptive_sharpness",
        "highest_sharpness",
        "batch_sharpness",
        "relative",
        "slices",
        "settings",
    }


REFUSED = {
    "no task": (["bare.pt"], "--task must be given: the checkpoint does not name its task."),
    "no model": (
        ["bare.pt", "--task", "digits"],
        "--model must be given: the checkpoint does not name its model.",
    ),
    "no task beside the model": (["half.pt"], "--task must be given"),
    "another task than the file's": (
        ["named.pt", "--task", "mnist"],
        "--task must be 'digits', as the checkpoint says, got 'mnist'.",
    ),
    "an unknown task": (["future.pt"], "got 'imagenet-9000'."),
    "an unknown model": (
        ["bare.pt", "--task", "digits", "--model", "cnn"],
        "--model must be one of small-cnn for digits, got 'cnn'.",
    ),
    "weights of another model": (
        ["other.pt"],
        "must fit the model 'small-cnn' of 'digits', got: Missing key(s)",
    ),
    "an unknown optimizer": (
        ["foreign optimizer.pt"],
        "'optimizer' must be one of Adam, AdamW, InvAdam, DualAdam in the checkpoint, got 'SGD'.",
    ),
    "an optimizer without its state": (
        ["stateless.pt"],
        "'optimizer_state_dict' must be the optimizer's state_dict() in the checkpoint",
    ),
    "the optimizer of another model": (
        ["optimizer of another model.pt"],
        "The InvAdam in the checkpoint must fit the model, got:",
    ),
    "groups without names": (
        ["groups without names.pt"],
        "must be saved with the names of its parameters, got none",
    ),
    "no weights": (["numbers.pt"], "with the key 'state_dict', got the keys: accuracy."),
    "a list": (["list.pt"], "with the key 'state_dict', got list."),
    "no checkpoint at all": (
        ["garbage.pt"],
        "must hold tensors and plain values saved by torch.save, and nothing else",
    ),
    "code in the file": (
        ["trap.pt"],
        "must hold tensors and plain values saved by torch.save, and nothing else",
    ),
    "no file": (["absent.pt"], "there is no such file"),
    "an unknown type of figure": (
        ["named.pt", "--out", "a.docx"],
        "--out must end in .png, .svg, .pdf, got a.docx.",
    ),
    "a radius of 0": (["named.pt", "--rho", "0"], "rho must be above 0"),
}


@pytest.mark.parametrize(("arguments", "sentence"), REFUSED.values(), ids=REFUSED.keys())
def test_bad_input_ends_with_a_message_and_status_2(
    folder, monkeypatch, capsys, arguments, sentence
):
    monkeypatch.chdir(folder)
    assert run(*arguments) == 2
    assert sentence in capsys.readouterr().err
    assert not (folder / "sprung").exists()
