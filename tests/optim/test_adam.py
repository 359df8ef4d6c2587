"""What DualAdam has in common with torch's Adam and AdamW, bit for bit."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from cases import BIT_EXACT, ROWS, Case, assert_same_bits, marks_decay, state_bits

from dualadam import DualAdam

SHARED = [
    (case, path)
    for case, path in ROWS
    if path in BIT_EXACT and case.order_of_torch and case.optimizer is DualAdam
]
IDS = [f"{case.name}-{path}" for case, path in SHARED]


def adam_twin(case: Case) -> tuple[Case, type[torch.optim.Optimizer]]:
    """Return the case without what torch has not, and Adam, or AdamW where something decays."""
    settings = {k: v for k, v in case.settings.items() if k != "switch_rate"}
    groups = tuple({k: v for k, v in g.items() if k != "switch_rate"} for g in case.groups)
    decays = any(s.get("weight_decay") for s in (settings, *groups))
    return replace(
        case, settings={"weight_decay": 0.0, **settings}, groups=groups
    ), torch.optim.AdamW if decays else torch.optim.Adam


@pytest.mark.parametrize(("case", "path"), SHARED, ids=IDS)
def test_with_switch_rate_1_every_step_is_adams_or_with_decay_adamws(case: Case, path: str):
    twin, theirs = adam_twin(case)
    ours_case = replace(twin, settings={**twin.settings, "switch_rate": 1.0})
    params, their_params = case.make_params(), case.make_params()
    optimizer, reference = ours_case.make(params, path), twin.make(their_params, path, theirs)
    for step in range(1, 61):
        for values, opt in ((params, optimizer), (their_params, reference)):
            case.set_grads(values, step)
            opt.step()
        assert_same_bits(state_bits(their_params, reference), state_bits(params, optimizer))


@pytest.mark.parametrize(("case", "path"), SHARED, ids=IDS)
def test_after_the_hand_over_every_step_is_adamws_from_the_same_state(case: Case, path: str):
    duration = 20
    twin, _ = adam_twin(case)
    ours_case = replace(
        twin, settings={**twin.settings, "switch_rate": 1 / duration}, joins_at=(1, 1, 1, 1, 1)
    )
    params = case.make_params()
    optimizer = ours_case.make(params, path)
    for step in range(1, duration):  # the step number `duration` is the first with alpha = 0
        ours_case.set_grads(params, step)
        optimizer.step()
    their_params = [
        p.detach().clone(memory_format=torch.preserve_format).requires_grad_() for p in params
    ]
    reference = twin.make(their_params, path, torch.optim.AdamW)
    reference.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for step in range(duration, duration + 40):
        for values, opt in ((params, optimizer), (their_params, reference)):
            ours_case.set_grads(values, step)
            opt.step()
        assert_same_bits(state_bits(their_params, reference), state_bits(params, optimizer))


@pytest.mark.parametrize("path", BIT_EXACT)
def test_the_hand_over_ends_at_its_step_where_binary_arithmetic_leaves_a_rest(path: str):
    """1 - 49/49 is 1.1e-16 in binary; times r^2 for gradients of 1e10 it is 1e4 Adam steps."""
    case = Case("rest", {"switch_rate": 1 / 49, "lr": 0.0}, layout="float64", gradient_scale=1e10)
    twin, _ = adam_twin(case)
    params = case.make_params()
    optimizer = case.make(params, path)
    for step in range(1, 49):
        case.set_grads(params, step)
        optimizer.step()
    their_params = copy.deepcopy(params)
    reference = twin.make(their_params, path, torch.optim.AdamW)
    reference.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for values, opt in ((params, optimizer), (their_params, reference)):
        opt.param_groups[0]["lr"] = 1e-3  # not before, or weights of 1e17 would hide the difference
        case.set_grads(values, 49)
        opt.step()
    assert_same_bits(state_bits(their_params, reference), state_bits(params, optimizer))


@pytest.mark.parametrize("path", BIT_EXACT)
def test_before_the_hand_over_the_steps_differ_from_adamws(path: str):
    """The two tests above could not fail if the mixing weight had no effect."""
    case = Case("mixing")
    params, their_params = case.make_params(), case.make_params()
    for values, optimizer in (
        (params, case.make(params, path)),
        (their_params, case.make(their_params, path, torch.optim.Adam)),
    ):
        case.set_grads(values, 1)
        optimizer.step()
    assert not torch.equal(params[0], their_params[0])


@pytest.mark.parametrize("path", BIT_EXACT)
@pytest.mark.parametrize("theirs", [torch.optim.Adam, torch.optim.AdamW])
def test_a_state_of_torch_continues_here_and_is_handed_back(
    theirs: type[torch.optim.Optimizer], path: str
):
    case = Case("shared", {"lr": 1e-2, "weight_decay": 0.0})
    straight, params = case.make_params(), case.make_params()
    reference, optimizer = case.make(straight, path, theirs), case.make(params, path, theirs)
    makers = [theirs, None, theirs]  # torch's, ours with switch_rate 1, torch's again
    for step in range(1, 31):
        if step % 10 == 1 and step > 1:
            maker = makers[step // 10]
            fresh = case.make(params, path, maker, **({} if maker else {"switch_rate": 1.0}))
            fresh.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            optimizer = fresh
        for values, opt in ((straight, reference), (params, optimizer)):
            case.set_grads(values, step)
            opt.step()
    assert_same_bits(state_bits(straight, reference), state_bits(params, optimizer))


@marks_decay
def test_decay_stays_decoupled_when_adamw_takes_the_state_back():
    case = Case("decay", {"lr": 1e-2, "weight_decay": 0.1})
    params = case.make_params()
    optimizer = case.make(params, "loop")
    case.set_grads(params, 1)
    optimizer.step()
    reference = torch.optim.AdamW(params)
    reference.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    assert reference.param_groups[0]["decoupled_weight_decay"] is True
    assert reference.param_groups[0]["weight_decay"] == 0.1


@pytest.mark.parametrize("path", tuple(Case("x").paths))
def test_with_tiny_gradients_dualadam_is_adamw_with_a_linear_warm_up_and_unwarmed_decay(path: str):
    """vh is 1e-12, so the inverse part is 1e-12 of the step, below the tolerance of 1e-10."""
    switch_rate, lr, decay, steps = 0.05, 1e-2, 0.1, 60
    case = Case(
        "control",
        {"lr": lr, "eps": 0.0, "weight_decay": decay},
        layout="float64",
        gradient_scale=1e-6,
    )
    params, their_params = case.make_params(), case.make_params()
    optimizer = case.make(params, path, switch_rate=switch_rate)
    control = case.make(their_params, path, torch.optim.AdamW)
    for step in range(1, steps + 1):
        rate = lr * (0.5 + 0.5 * step / steps)  # any schedule: both arms follow it
        warmth = min(1.0, switch_rate * step)
        optimizer.param_groups[0]["lr"] = rate
        control.param_groups[0].update(lr=rate * warmth, weight_decay=decay / warmth)
        for values, opt in ((params, optimizer), (their_params, control)):
            case.set_grads(values, step)
            opt.step()
        for ours, theirs in zip(params, their_params, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)
