"""Bad input is refused before any step, with argument, range and value."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from cases import marks_decay
from torch import nn

from dualadam import DualAdam, InvAdam, decay_groups, switch_rate_for

T = torch.tensor
BOTH = pytest.mark.parametrize("optimizer", [DualAdam, InvAdam])
REFUSED = [
    ({"lr": -1.0}, ValueError, r"Invalid learning rate: -1\.0"),
    ({"lr": math.nan}, ValueError, "Invalid learning rate: nan"),
    ({"lr": math.inf}, ValueError, "Invalid learning rate: inf"),
    ({"lr": T([1e-3, 1e-3])}, ValueError, "Tensor lr must be 1-element"),
    ({"lr": T(-1.0)}, ValueError, "Invalid learning rate: -1"),
    ({"lr": "1e-3"}, TypeError, r"lr must be a number or a 1-element tensor, got str '1e-3'\."),
    ({"lr": None}, TypeError, "lr must be a number"),
    ({"betas": (-0.1, 0.9)}, ValueError, r"Invalid beta parameter at index 0: -0\.1"),
    ({"betas": (0.9, 1.0)}, ValueError, r"Invalid beta parameter at index 1: 1\.0"),
    ({"betas": (0.9, 2)}, ValueError, "Invalid beta parameter at index 1: 2"),
    ({"betas": (0.9, math.nan)}, ValueError, "Invalid beta parameter at index 1: nan"),
    ({"betas": 0.9}, TypeError, r"betas must be a pair, got 0\.9\."),
    ({"betas": (0.9,)}, TypeError, "betas must be a pair"),
    ({"betas": (0.9, T(0.99))}, ValueError, "betas must be either both floats or both Tensors"),
    ({"betas": (T([0.9, 0.9]), T(0.99))}, ValueError, r"Tensor betas\[0\] must be 1-element"),
    ({"eps": -1e-8}, ValueError, "Invalid epsilon value: -1e-08"),
    ({"eps": math.inf}, ValueError, "Invalid epsilon value: inf"),
    ({"weight_decay": -1}, ValueError, "Invalid weight_decay value: -1"),
    ({"weight_decay": math.nan}, ValueError, "Invalid weight_decay value: nan"),
    ({"weight_decay": True}, TypeError, "weight_decay must be a number, got bool True"),
    ({"maximize": 1}, TypeError, r"maximize must be True or False, got 1\."),
    ({"capturable": None}, TypeError, r"capturable must be True or False, got None\."),
    ({"foreach": "yes"}, TypeError, r"foreach must be True or False or None, got 'yes'\."),
    (
        {"foreach": True, "differentiable": True},
        RuntimeError,
        "`foreach` does not support `differentiable`",
    ),
    (
        {"foreach": True, "lr": T(1e-3)},
        ValueError,
        "lr as a Tensor is not supported for capturable=False and foreach=True",
    ),
    (
        {"foreach": True, "betas": (T(0.9), T(0.99))},
        ValueError,
        r"betas\[0\] as a Tensor is not supported",
    ),
]
IDS = [str(settings) for settings, *_ in REFUSED]


def weights(n: int = 1) -> list[torch.Tensor]:
    return [torch.ones(2, requires_grad=True) for _ in range(n)]


@BOTH
@pytest.mark.parametrize(("settings", "error", "message"), REFUSED, ids=IDS)
def test_a_bad_setting_is_refused_by_the_constructor_and_in_a_group(
    optimizer, settings, error, message
):
    with pytest.raises(error, match=message):
        optimizer(weights(), **settings)
    with pytest.raises(error, match=message):
        optimizer([{"params": weights(), **settings}])
    good = optimizer(weights())
    with pytest.raises(error, match=message):
        good.add_param_group({"params": weights(), **settings})
    assert len(good.param_groups) == 1


@pytest.mark.parametrize("value", [-3, -0.1, 1.1, math.nan])
def test_a_switch_rate_out_of_range_is_refused_with_the_remedy(value: float):
    with pytest.raises(
        ValueError,
        match=rf"switch_rate must be in \[0, 1\], got {value}\. "
        r"switch_rate_for\(total_steps\) gives one\.",
    ):
        DualAdam(weights(), switch_rate=value)


@BOTH
def test_an_unknown_keyword_is_a_type_error(optimizer):
    with pytest.raises(TypeError, match="swich_rate"):
        optimizer(weights(), swich_rate=0.1)


def test_a_misspelt_setting_in_a_group_is_refused_with_the_nearest_name():
    with pytest.raises(
        ValueError,
        match=r"Unknown setting 'swich_rate' in a parameter group; did you mean 'switch_rate'\?",
    ):
        DualAdam([{"params": weights(), "swich_rate": 0.1}])


def test_keys_that_schedulers_and_users_put_into_a_group_are_kept():
    optimizer = DualAdam(
        [{"params": weights(), "initial_lr": 0.1, "name": "head", "lr_scale": 0.5, "names": ["w"]}]
    )
    assert optimizer.param_groups[0]["name"] == "head"


@BOTH
def test_amsgrad_in_a_group_is_refused_and_false_is_not(optimizer):
    with pytest.raises(
        ValueError, match=r"amsgrad must be False, got True: it has no counterpart here\."
    ):
        optimizer([{"params": weights(), "amsgrad": True}])
    optimizer([{"params": weights(), "amsgrad": False}])


def test_invadam_refuses_a_switch_rate_in_a_group():
    with pytest.raises(ValueError, match=r"InvAdam has no switch_rate; use DualAdam\."):
        InvAdam([{"params": weights(), "switch_rate": 0.5}])


def test_invadam_stays_invadam_when_it_loads_a_dualadam_state():
    saved = DualAdam(weights(), switch_rate=1.0).state_dict()
    weight, twin = weights(2)
    optimizer, reference = InvAdam([weight]), InvAdam([twin])
    optimizer.load_state_dict(saved)
    for w, opt in ((weight, optimizer), (twin, reference)):
        w.grad = torch.full_like(w, 3.0)
        opt.step()
    assert torch.equal(weight, twin)


def test_invadam_takes_no_switch_rate():
    with pytest.raises(TypeError, match="switch_rate"):
        InvAdam(weights(), switch_rate=0.1)


@BOTH
@pytest.mark.parametrize("foreach", [False, True])
def test_a_sparse_gradient_is_refused_before_anything_changes(optimizer, foreach: bool):
    embedding = nn.Embedding(4, 2, sparse=True)
    embedding(T([1, 1])).sum().backward()
    before = embedding.weight.detach().clone()
    opt = optimizer(embedding.parameters(), foreach=foreach)
    with pytest.raises(
        RuntimeError,
        match=f"{optimizer.__name__} does not support sparse gradients; use sparse=False in the "
        "embedding",
    ):
        opt.step()
    assert torch.equal(embedding.weight, before)
    assert not opt.state


def test_a_tensor_lr_set_later_is_refused_with_foreach_in_torchs_words():
    weight = weights()[0]
    optimizer = DualAdam([weight], foreach=True)
    weight.grad = torch.ones(2)
    optimizer.param_groups[0]["lr"] = T(1e-3)
    with pytest.raises(
        RuntimeError, match="lr as a Tensor is not supported for capturable=False and foreach=True"
    ):
        optimizer.step()


@pytest.mark.parametrize("where", ["state", "group"])
def test_a_state_made_with_amsgrad_is_refused(where: str):
    weight = weights()[0]
    theirs = torch.optim.AdamW([weight], amsgrad=True)
    if where == "state":
        weight.grad = torch.ones(2)
        theirs.step()
    with pytest.raises(ValueError, match="amsgrad"):
        DualAdam([weight]).load_state_dict(theirs.state_dict())


def test_a_state_of_another_kind_of_optimizer_is_refused_by_its_keys():
    weight = weights()[0]
    theirs = torch.optim.SGD([weight], momentum=0.9)
    weight.grad = torch.ones(2)
    theirs.step()
    with pytest.raises(
        ValueError, match=r"must have the keys step, exp_avg and exp_avg_sq, got momentum_buffer\."
    ):
        DualAdam([weight]).load_state_dict(theirs.state_dict())


@marks_decay
def test_loading_adams_coupled_decay_warns_that_it_is_decoupled_here():
    weight = weights()[0]
    with pytest.warns(
        UserWarning, match=r"coupled weight_decay 0\.1 of torch\.optim\.Adam is decoupled here"
    ):
        DualAdam([weight]).load_state_dict(
            torch.optim.Adam([weight], weight_decay=0.1).state_dict()
        )


def test_a_loaded_adamw_group_keeps_the_constructors_switch_rate():
    weight = weights()[0]
    optimizer = DualAdam([weight], switch_rate=0.125)
    optimizer.load_state_dict(torch.optim.AdamW([weight], lr=0.5).state_dict())
    assert optimizer.param_groups[0]["switch_rate"] == 0.125
    assert optimizer.param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((0,), ValueError, r"total_steps must be at least 1, got 0\."),
        ((10.0,), TypeError, r"total_steps must be an integer, got 10\.0\."),
        ((True,), TypeError, "total_steps must be an integer"),
        ((10, 0.0), ValueError, r"fraction must be in \(0, 1\], got 0\.0\."),
        ((10, 1.5), ValueError, r"fraction must be in \(0, 1\], got 1\.5\."),
        ((10, math.nan), ValueError, "fraction must be in"),
    ],
)
def test_switch_rate_for_refuses_what_is_out_of_range(arguments, error, message):
    with pytest.raises(error, match=message):
        switch_rate_for(*arguments)


@pytest.mark.parametrize("total_steps", [1, 7, 1000, 78_200])
def test_switch_rate_for_ends_the_hand_over_at_the_fraction_and_is_accepted(total_steps: int):
    switch_rate = switch_rate_for(total_steps, 0.25)
    assert switch_rate == min(1.0, 1 / (0.25 * total_steps))
    DualAdam(weights(), switch_rate=switch_rate)


def test_an_empty_group_is_not_warned_of_stochastic_rounding():
    weight = torch.ones(3, dtype=torch.bfloat16, requires_grad=True)
    DualAdam(
        [{"params": [weight]}, {"params": []}], stochastic_rounding=True
    )  # warnings are errors
    with pytest.warns(UserWarning, match="stochastic_rounding=True has no effect"):
        DualAdam([torch.ones(3, requires_grad=True)], stochastic_rounding=True)


@pytest.mark.parametrize(
    ("settings", "switch_rate"),
    [
        ({}, 0.01),
        ({"switch_rate": None}, 0.01),
        ({"total_steps": 20_000}, switch_rate_for(20_000)),
        ({"total_steps": 20_000, "hand_over_fraction": 0.5}, 1e-4),
        ({"total_steps": 1}, 1.0),
    ],
    ids=str,
)
def test_total_steps_is_another_way_to_say_switch_rate(settings, switch_rate: float):
    optimizer = DualAdam(weights(), **settings)
    assert optimizer.param_groups[0]["switch_rate"] == switch_rate
    assert optimizer.defaults["switch_rate"] == switch_rate
    assert not {"total_steps", "hand_over_fraction"} & optimizer.param_groups[0].keys()


def test_a_group_may_say_its_switch_rate_by_total_steps():
    optimizer = DualAdam(
        [{"params": weights(), "total_steps": 1000}, {"params": weights()}], total_steps=500
    )
    optimizer.add_param_group({"params": weights(), "total_steps": 1000, "hand_over_fraction": 0.5})
    rates = [group["switch_rate"] for group in optimizer.param_groups]
    assert rates == [switch_rate_for(1000), switch_rate_for(500), 1 / 500]
    assert all("total_steps" not in group for group in optimizer.param_groups)


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"total_steps": 9, "switch_rate": 0.1}, ValueError, "switch_rate must be left out where"),
        ({"hand_over_fraction": 0.2}, ValueError, "hand_over_fraction must come with total_steps"),
        ({"total_steps": 0}, ValueError, "total_steps must be at least 1, got 0"),
        ({"total_steps": "9"}, TypeError, "total_steps must be an integer, got '9'"),
        ({"total_steps": 9, "hand_over_fraction": 2}, ValueError, r"fraction must be in \(0, 1\]"),
    ],
    ids=str,
)
def test_two_ways_at_once_and_values_out_of_range_are_refused(settings, error, message: str):
    with pytest.raises(error, match=message):
        DualAdam(weights(), **settings)
    with pytest.raises(error, match=message):
        DualAdam([{"params": weights(), **settings}])
    good = DualAdam(weights())
    with pytest.raises(error, match=message):
        good.add_param_group({"params": weights(), **settings})
    assert len(good.param_groups) == 1


def test_invadam_has_no_total_steps():
    with pytest.raises(TypeError, match="total_steps"):
        InvAdam(weights(), total_steps=9)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=r"InvAdam has no total_steps; use DualAdam\."):
        InvAdam([{"params": weights(), "total_steps": 9}])


@BOTH
def test_a_decay_that_one_step_makes_complete_warns(optimizer):
    """Of a weight norm of 1.15 one step at lr 100 and decay 0.01 left 6e-8."""
    message = r"lr \* weight_decay is 1: one step multiplies the weights by 0\."
    with pytest.warns(UserWarning, match=message) as caught:
        optimizer(weights(), lr=100.0, weight_decay=0.01)
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=message):
        optimizer([{"params": weights(), "lr": torch.tensor(100.0)}], weight_decay=0.01)
    optimizer(weights(), lr=99.0, weight_decay=0.01)


@BOTH
def test_a_model_instead_of_its_parameters_is_refused_with_the_remedy(optimizer):
    for model in (nn.Linear(2, 2), nn.Sequential(nn.Linear(2, 2))):
        with pytest.raises(TypeError, match=r"got the module \w+; pass model\.parameters\(\)\."):
            optimizer(model)


def test_parameters_instead_of_a_model_are_refused_by_decay_groups():
    model = nn.Linear(2, 2)
    for params in (model.parameters(), list(model.parameters())):
        with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got \w+; pass"):
            decay_groups(params, 0.1)  # type: ignore[arg-type]


@BOTH
def test_amsgrad_is_refused_in_a_sentence_and_false_is_not(optimizer):
    with pytest.raises(ValueError, match=r"amsgrad must be False, got True: it has no counterpart"):
        optimizer(weights(), amsgrad=True)
    assert "amsgrad" not in optimizer(weights(), amsgrad=False).param_groups[0]


@BOTH
@pytest.mark.parametrize("as_tensor", [False, True])
@pytest.mark.parametrize(("factor", "shown"), [(-0.5, "-0.05"), (math.nan, "nan")])
def test_a_schedule_that_leaves_the_range_is_refused_before_anything_changes(
    optimizer, as_tensor: bool, factor: float, shown: str
):
    params = [torch.ones(2, requires_grad=True) for _ in range(2)]
    lr = T(0.1, dtype=torch.float64) if as_tensor else 0.1
    made = optimizer([{"params": [p], "lr": copy.deepcopy(lr)} for p in params])
    schedule = torch.optim.lr_scheduler.LambdaLR(
        made, [lambda step: 1.0, lambda step: 1.0 if step < 2 else factor]
    )
    for step in range(3):
        for param in params:
            param.grad = torch.full_like(param, 0.1)
        if step < 2:
            made.step()
            schedule.step()
    before = [p.detach().clone() for p in params]
    with pytest.raises(
        ValueError, match=rf"lr must be at least 0, got {shown}.* in parameter grou"
    ):
        made.step()
    assert all(torch.equal(a, b) for a, b in zip(before, params, strict=True))
    assert {float(state["step"]) for state in made.state.values()} == {2}


def test_a_schedule_that_ends_at_0_may_end_a_rounding_below_it():
    param = torch.ones(2, requires_grad=True)
    optimizer = DualAdam([param], lr=0.1)
    optimizer.param_groups[0]["lr"] = -1e-18
    param.grad = torch.ones(2)
    optimizer.step()
    assert optimizer.state[param]["step"] == 1
