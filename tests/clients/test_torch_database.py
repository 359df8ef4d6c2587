"""Our checks over the inputs of torch's optimizer database.

torch.optim.AdamW takes each check too, which shows that the check is valid. The database is a
private module: conftest.py leaves this file out on any other minor version of torch.
Its inputs are used at lr 1e-4: InvAdam's step is a gradient squared.
"""

from __future__ import annotations

import copy
import io
import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.testing._internal.common_optimizers import OptimizerErrorEnum, OptimizerInfo, optim_db

from dualadam import DualAdam, InvAdam

ADAMW: OptimizerInfo = next(info for info in optim_db if info.optim_cls is torch.optim.AdamW)
CLASSES = [torch.optim.AdamW, DualAdam, InvAdam]
CPU = torch.device("cpu")
LR = 1e-4


def settings_of_the_database() -> list[dict[str, Any]]:
    """Return AdamW's CPU inputs, each as loop, foreach and differentiable.

    amsgrad is left out, since DualAdam has no counterpart.
    """
    inputs = [
        i.kwargs for i in ADAMW.optim_inputs_func(device="cpu") if not i.kwargs.get("amsgrad")
    ]
    for kwargs in inputs:
        kwargs["lr"] = torch.tensor(LR) if isinstance(kwargs.get("lr"), torch.Tensor) else LR
    return [{**kwargs, "foreach": foreach} for kwargs in inputs for foreach in (False, True)]


SETTINGS = settings_of_the_database()
each = pytest.mark.parametrize("settings", SETTINGS, ids=str)
every_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)


def model() -> tuple[nn.Sequential, torch.Tensor]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 2)), torch.randn(
        16, 4
    )


def train(
    network: nn.Module, data: torch.Tensor, optimizer: torch.optim.Optimizer, steps: int
) -> list[float]:
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = network(data).square().sum()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def same_state(a: torch.optim.Optimizer, b: torch.optim.Optimizer) -> bool:
    left, right = a.state_dict()["state"], b.state_dict()["state"]
    return left.keys() == right.keys() and all(
        torch.equal(left[i][k], right[i][k]) for i in left for k in left[i]
    )


def same_params(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))


def test_the_database_gives_more_than_the_default():
    assert len(SETTINGS) >= 8
    assert any(s.get("maximize") for s in SETTINGS)


@every_class
@each
def test_the_loss_goes_down_or_with_maximize_up(cls, settings):
    network, data = model()
    losses = train(network, data, cls(network.parameters(), **settings), 5)
    assert (losses[-1] > losses[0]) is bool(settings.get("maximize"))


@every_class
@each
def test_gradients_stay_as_they_are(cls, settings):
    network, data = model()
    optimizer = cls(network.parameters(), **settings)
    network(data).sum().backward()
    before = [(p.grad, p.grad._version, p.grad.clone()) for p in network.parameters()]
    optimizer.step()
    for param, (grad, version, values) in zip(network.parameters(), before, strict=True):
        assert param.grad is grad
        assert grad._version == version
        assert torch.equal(grad, values)


@every_class
@each
def test_a_step_bumps_the_version_of_the_parameters_so_that_a_stale_backward_raises(cls, settings):
    network, data = model()
    optimizer = cls(network.parameters(), **settings)
    loss = network(data).square().sum()
    loss.backward(retain_graph=True)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@every_class
@each
def test_step_is_a_float32_tensor_on_the_cpu_and_the_keys_are_torchs(cls, settings):
    network, data = model()
    optimizer = cls(network.parameters(), **settings)
    train(network, data, optimizer, 2)
    for state in optimizer.state.values():
        assert set(state) == {"step", "exp_avg", "exp_avg_sq"}
        assert state["step"].dtype == torch.float32
        assert state["step"].device == CPU
        assert state["step"].shape == ()


@every_class
def test_the_optimizer_has_no_public_attribute_beyond_the_base_classes(cls):
    network, data = model()
    optimizer = cls(network.parameters())
    train(network, data, optimizer, 1)
    base = torch.optim.SGD(network.parameters())
    assert {n for n in vars(optimizer) if not n.startswith("_")} <= {
        n for n in vars(base) if not n.startswith("_")
    }
    assert {n for n in dir(cls) if not n.startswith("_")} == {
        n for n in dir(torch.optim.Optimizer) if not n.startswith("_")
    }


@every_class
@each
def test_a_state_dict_resumes_through_a_weights_only_file(cls, settings):
    network, data = model()
    optimizer = cls(network.parameters(), **settings)
    train(network, data, optimizer, 3)
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    twin = copy.deepcopy(network)
    resumed = cls(twin.parameters(), **settings)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    train(network, data, optimizer, 3)
    train(twin, data, resumed, 3)
    assert same_state(optimizer, resumed)
    assert same_params(network, twin)


@every_class
@each
def test_a_state_dict_without_the_flags_that_came_later_resumes(cls, settings):
    network, data = model()
    optimizer = cls(network.parameters(), **settings)
    train(network, data, optimizer, 2)
    old = copy.deepcopy(optimizer.state_dict())
    for group in old["param_groups"]:
        for flag in ADAMW.not_og_supported_flags:
            group.pop(flag, None)
    for state in old["state"].values():
        state["step"] = float(state["step"])
    resumed = cls(network.parameters(), **settings)
    resumed.load_state_dict(old)
    assert all(isinstance(state["step"], torch.Tensor) for state in resumed.state.values())
    resumed.step()


@every_class
@each
def test_a_step_without_gradients_changes_nothing_and_makes_no_state(cls, settings):
    network, _ = model()
    before = copy.deepcopy(network)
    optimizer = cls(network.parameters(), **settings)
    optimizer.step()
    assert same_params(before, network)
    assert not optimizer.state


@every_class
@each
def test_zero_size_non_contiguous_and_mixed_parameters_step_together(cls, settings):
    params = [
        torch.ones(0, requires_grad=True),
        torch.ones(3, 2, requires_grad=True).t().detach().requires_grad_(),
        torch.ones(2, dtype=torch.float64, requires_grad=True),
        torch.ones(2, 2, 3, 3).to(memory_format=torch.channels_last).requires_grad_(),
        torch.ones(2, dtype=torch.complex64, requires_grad=True),
        torch.ones((), requires_grad=True),
    ]
    optimizer = cls(params, **settings)
    for param in params:
        param.grad = torch.ones_like(param)
    optimizer.step()
    for param in params:
        assert (param != 1).all()
        assert optimizer.state[param]["exp_avg"].stride() == param.stride()


@every_class
@each
def test_hooks_run_in_order_before_and_after_the_step(cls, settings):
    network, data = model()
    optimizer = cls(network.parameters(), **settings)
    seen: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    optimizer.register_state_dict_post_hook(lambda *_: seen.append("saved"))
    optimizer.register_load_state_dict_post_hook(lambda *_: seen.append("loaded"))
    train(network, data, optimizer, 1)
    optimizer.load_state_dict(optimizer.state_dict())
    assert seen == ["before", "after", "saved", "loaded"]


@every_class
@each
def test_named_parameters_keep_their_names_through_a_state_dict(cls, settings):
    network, data = model()
    optimizer = cls(network.named_parameters(), **settings)
    train(network, data, optimizer, 1)
    names = [name for name, _ in network.named_parameters()]
    assert optimizer.state_dict()["param_groups"][0]["param_names"] == names
    fresh = cls(network.named_parameters(), **settings)
    fresh.load_state_dict(optimizer.state_dict())
    assert fresh.param_groups[0]["param_names"] == names


@every_class
@each
def test_a_closure_is_run_with_gradients_and_its_loss_returned(cls, settings):
    network, data = model()
    optimizer = cls(network.parameters(), **settings)

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = network(data).square().sum()
        loss.backward()
        return loss

    with torch.no_grad():
        loss = optimizer.step(closure)
    assert loss.requires_grad
    assert optimizer.state


@every_class
@pytest.mark.parametrize("index", range(len(ADAMW.scheduler_inputs)))
def test_the_databases_schedulers_drive_every_group(cls, index: int):
    network, data = model()
    first, *rest = network.parameters()
    optimizer = cls([{"params": [first]}, {"params": rest, "lr": LR / 2}], lr=LR)
    schedulers = [make(optimizer) for make in ADAMW.scheduler_inputs[index]]
    losses = []
    for _ in range(12):
        losses += train(network, data, optimizer, 1)
        for scheduler in schedulers:
            scheduler.step(
                *(
                    [losses[-1]]
                    if isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
                    else []
                )
            )
    assert losses[-1] < losses[0]


@every_class
@pytest.mark.parametrize(
    "case",
    ADAMW.optim_error_inputs_func(device="cpu", dtype=torch.float32),
    ids=lambda c: c.optimizer_error_input.desc,
)
def test_every_error_input_raises_torchs_error_with_torchs_words(cls, case):
    params, kwargs = case.optimizer_error_input.params, case.optimizer_error_input.kwargs
    if params is None:
        params = [torch.ones(1, requires_grad=True)]
    elif isinstance(params, list):  # torch fills a group's dict with the optimizer's defaults
        params = [dict(p) if isinstance(p, dict) else p for p in params]
    assert case.error_on == OptimizerErrorEnum.CONSTRUCTION_ERROR
    if issubclass(case.error_type, Warning):
        with pytest.warns(case.error_type, match=case.error_regex):
            cls(params, **kwargs)
        return
    with warnings.catch_warnings(), pytest.raises(case.error_type, match=case.error_regex):
        cls(params, **kwargs)


@every_class
def test_a_differentiable_step_passes_gradcheck_in_parameter_and_gradient(cls):
    def after_two_steps(weight: torch.Tensor, *gradients: torch.Tensor) -> torch.Tensor:
        moved = weight.clone()
        optimizer = cls([moved], lr=0.1, differentiable=True)
        for gradient in gradients:
            moved.grad = gradient
            optimizer.step()
        return moved

    inputs = [
        torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64, requires_grad=True) for _ in range(3)
    ]
    assert torch.autograd.gradcheck(after_two_steps, inputs)


@every_class
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_differentiable_step_carries_the_gradient_of_half_precision_parameters(
    cls, dtype: torch.dtype
):
    def gradient(dtype: torch.dtype) -> torch.Tensor:
        start = torch.full((40,), 0.5, dtype=dtype, requires_grad=True)
        moved = start.clone()
        optimizer = cls([moved], lr=0.25, differentiable=True)
        for _ in range(2):
            moved.grad = start * 0.5
            optimizer.step()
        return torch.autograd.grad(moved.float().sum(), start)[0].float()

    torch.testing.assert_close(
        gradient(dtype), gradient(torch.float32), rtol=2**-6, atol=0
    )  # a few roundings to bfloat16


@every_class
def test_the_gradient_with_respect_to_lr_passes_through_two_steps(cls):
    def after_two_steps(lr: torch.Tensor) -> torch.Tensor:
        moved = torch.tensor([0.3, -0.7, 1.1], dtype=torch.float64, requires_grad=True).clone()
        optimizer = cls([moved], lr=lr, differentiable=True)
        for _ in range(2):
            moved.grad = torch.tensor([0.5, 1.5, -2.5], dtype=torch.float64)
            optimizer.step()
        return moved

    assert torch.autograd.gradcheck(
        after_two_steps, [torch.tensor(0.1, dtype=torch.float64, requires_grad=True)]
    )


@every_class
def test_foreach_takes_parameters_that_are_on_another_device_than_their_counts(cls):
    """As on CUDA, where the counts of updates lie on the CPU; the meta device stands in for it."""
    params = [torch.nn.Parameter(torch.empty(8, 8, device="meta")) for _ in range(3)]
    for param in params:
        param.grad = torch.empty_like(param)
    optimizer = cls(params, foreach=True, weight_decay=0.1, maximize=True)
    for _ in range(2):
        optimizer.step()
    assert [optimizer.state[p]["step"].item() for p in params] == [2.0] * 3
    assert optimizer.state[params[0]]["step"].is_cpu
