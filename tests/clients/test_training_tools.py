"""Schedulers, loss scaling, clipping and several devices around an optimizer."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from cases import PATHS, Case, randn
from oracle import Oracle
from torch import nn
from torch.optim import lr_scheduler

from dualadam import DualAdam

paths = pytest.mark.parametrize("path", PATHS)


@paths
def test_a_scheduler_changes_lr_betas_and_switch_rate_of_each_group(path: str):
    """Every setting is read again at every step; the oracle gets the same numbers."""
    params = [randn(3, dtype=torch.float64, seed=i).clone().requires_grad_() for i in range(2)]
    optimizer = DualAdam(
        [{"params": [params[0]], "lr": 0.1}, {"params": [params[1]], "switch_rate": 0.2}],
        **PATHS[path],
    )
    scheduler = lr_scheduler.OneCycleLR(optimizer, max_lr=[0.1, 0.02], total_steps=30)
    oracles = [Oracle(p.detach().numpy().copy()) for p in params]
    seen = set()
    for step in range(30):
        for i, (param, group, oracle) in enumerate(
            zip(params, optimizer.param_groups, oracles, strict=True)
        ):
            group["switch_rate"] = (0.02, 0.2)[i] * (1 + step / 30)
            param.grad = randn(3, dtype=torch.float64, seed=100 * step + i)
            oracle.step(
                param.grad.numpy(),
                lr=group["lr"],
                betas=group["betas"],
                switch_rate=group["switch_rate"],
            )
            seen.add((group["lr"], group["betas"]))
        optimizer.step()
        scheduler.step()
        for param, oracle in zip(params, oracles, strict=True):
            np.testing.assert_allclose(param.detach().numpy(), oracle.theta, rtol=1e-12, atol=1e-12)
    assert len(seen) > 50


@paths
def test_a_grad_scaler_gives_the_unscaled_steps_and_skips_one_with_an_infinite_gradient(path: str):
    plain, scaled = (randn(4).clone().requires_grad_() for _ in range(2))
    case = Case("scaled", {"lr": 0.1, "switch_rate": 0.1})
    optimizers = [case.make([weight], path) for weight in (plain, scaled)]
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=100)
    for step in range(12):
        for weight, optimizer in zip((plain, scaled), optimizers, strict=True):
            optimizer.zero_grad()
            loss = ((weight - randn(4, seed=step)) ** 2).sum()
            if step == 5:  # the plain run leaves this step out
                loss = loss * torch.inf
            if weight is scaled:
                scaler.scale(loss).backward()
                scaler.step(optimizer)
                scaler.update()
            elif step != 5:
                loss.backward()
                optimizer.step()
        if step == 5:
            assert scaler.get_scale() == 512.0
    assert optimizers[1].state[scaled]["step"] == 11
    assert torch.equal(plain, scaled)  # a power of two scales without rounding


@paths
def test_clipping_works_on_the_gradients_before_the_step(path: str):
    weight = torch.zeros(4, requires_grad=True)
    optimizer = Case("clipped", {"switch_rate": 0.0, "lr": 1.0, "eps": 0.0}).make([weight], path)
    weight.grad = torch.full((4,), 1e6)
    nn.utils.clip_grad_norm_([weight], 2.0)
    optimizer.step()
    # a norm of 2 is 1 in each of 4 coordinates, so InvAdam's first step is 1, not 1e12;
    # clipping adds 1e-6 to the norm
    torch.testing.assert_close(weight.detach(), torch.full((4,), -1.0), rtol=1e-5, atol=0)


@paths
def test_a_group_added_in_training_starts_with_its_own_count(path: str):
    first, second = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = DualAdam([first], **PATHS[path])
    for step in range(5):
        if step == 3:
            optimizer.add_param_group({"params": [second], "switch_rate": 0.5})
        for weight in (first, second):
            weight.grad = torch.ones(2)
        optimizer.step()
    assert (optimizer.state[first]["step"], optimizer.state[second]["step"]) == (5, 2)


def test_the_step_appears_in_a_profile_under_the_optimizers_name():
    weight = torch.ones(2, requires_grad=True)
    weight.grad = torch.ones(2)
    optimizer = DualAdam([weight])
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        optimizer.step()
    assert "Optimizer.step#DualAdam.step" in {event.key for event in profile.key_averages()}


@pytest.mark.gpu
@paths
def test_parameters_on_the_cpu_and_a_gpu_step_together(path: str):
    params = [
        randn(3, 4).clone().requires_grad_(),
        randn(3, 4).cuda().requires_grad_(),
        randn(5).bfloat16().cuda().requires_grad_(),
    ]
    twins = [p.detach().cpu().requires_grad_() for p in params]
    case = Case("devices", {"lr": 1e-2, "switch_rate": 0.1})
    optimizer, reference = case.make(params, path), case.make(twins, "loop")
    for step in range(1, 21):
        for values, opt in ((params, optimizer), (twins, reference)):
            case.set_grads(values, step)
            opt.step()
    for param, twin in zip(params, twins, strict=True):
        eps = torch.finfo(param.dtype).eps
        torch.testing.assert_close(
            param.cpu(), twin, rtol=20 * eps, atol=20 * eps
        )  # one rounding a step
        assert optimizer.state[param]["step"].device == (
            param.device if path == "fused" else torch.device("cpu")
        )


@pytest.mark.gpu
@paths
def test_a_state_saved_on_the_cpu_continues_on_a_gpu(path: str):
    case = Case("moved", {"lr": 1e-2})
    params = case.make_params()
    optimizer = case.make(params, path)
    case.set_grads(params, 1)
    optimizer.step()
    moved = [p.detach().cuda().requires_grad_() for p in params]
    fresh = case.make(moved, path)
    fresh.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for values, opt in ((params, optimizer), (moved, fresh)):
        case.set_grads(values, 2)
        opt.step()
    for param, twin in zip(params, moved, strict=True):
        assert fresh.state[twin]["exp_avg"].is_cuda
        # a kernel reads the count on the device, the other paths on the CPU
        assert fresh.state[twin]["step"].is_cuda is (path == "fused")
        torch.testing.assert_close(twin.cpu(), param, rtol=1e-6, atol=1e-7)


@pytest.mark.gpu
@paths
def test_a_captured_step_replays_with_a_changed_lr(path: str):
    case = Case(
        "captured",
        {"lr": torch.tensor(1e-2, device="cuda"), "capturable": True, "switch_rate": 0.25},
    )
    params = [randn(3, 4).cuda().requires_grad_()]
    params[0].grad = torch.full_like(params[0], 0.5)
    twin = [params[0].detach().cpu().double().requires_grad_()]
    optimizer, reference = case.make(params, path), DualAdam(twin, lr=1e-2, switch_rate=0.25)
    twin[0].grad = torch.full_like(twin[0], 0.5)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        optimizer.step()
    torch.cuda.current_stream().wait_stream(stream)
    reference.step()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    for step in range(6):
        optimizer.param_groups[0]["lr"].fill_(1e-2 / (step + 1))
        reference.param_groups[0]["lr"] = 1e-2 / (step + 1)
        graph.replay()
        reference.step()
    torch.testing.assert_close(
        params[0].detach().cpu().double(), twin[0].detach(), rtol=1e-5, atol=1e-6
    )
