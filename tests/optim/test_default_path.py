"""Which path a step takes where the user does not choose one: torch's rule."""

import pytest
import torch
from cases import PATHS

from dualadam import DualAdam


def test_the_default_path_on_the_cpu_is_the_loop(monkeypatch: pytest.MonkeyPatch):
    weight = torch.ones(2, requires_grad=True)
    weight.grad = torch.ones(2)
    called = []
    for path in PATHS:
        monkeypatch.setattr(
            f"dualadam.optim._step.paths.update_{path}",
            lambda *_, path=path, **__: called.append(path),
        )
    for foreach in (None, False, True):
        DualAdam([weight], foreach=foreach).step()
    assert called == ["loop", "loop", "foreach"]


@pytest.mark.gpu
def test_the_default_path_on_a_gpu_is_foreach(monkeypatch: pytest.MonkeyPatch):
    weight = torch.ones(2, device="cuda", requires_grad=True)
    weight.grad = torch.ones(2, device="cuda")
    called = []
    monkeypatch.setattr(
        "dualadam.optim._step.paths.update_foreach", lambda *_, **__: called.append("foreach")
    )
    DualAdam([weight]).step()
    assert called == ["foreach"]
