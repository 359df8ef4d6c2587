"""The table of optimizers is true, and the control's learning rate follows its formula."""

import math

import pytest
import torch

from dualadam.compare.optimizers import OPTIMIZERS, find_entry, make_optimizer, try_step
from dualadam.compare.schedule import LearningRateSchedule, schedule_factor
from dualadam.compare.warmup import LinearWarmup
from dualadam.optim import decay_groups

TOTAL, FINAL = 50, 0.01
CONTROLS = [name for name, entry in OPTIMIZERS.items() if entry.warmup]


@pytest.mark.parametrize("name", CONTROLS)
@pytest.mark.parametrize("xi", [1.0, 0.3, 0.04])
def test_the_controls_learning_rate_is_warmed_and_its_decay_is_not(name, xi):
    lr, decay = 0.01, 0.1
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    settings = {"lr": lr, "switch_rate": xi}
    control = make_optimizer(name, decay_groups(model, decay), settings, decay)
    seen = []
    control.optimizer.register_step_pre_hook(
        lambda inner, *_: seen.append([(g["lr"], g["weight_decay"]) for g in inner.param_groups])
    )
    schedule = LearningRateSchedule(control, "cosine", TOTAL, FINAL)
    for step in range(1, TOTAL + 1):
        schedule.set(step)
        control.step()
        scheduled = lr * schedule_factor("cosine", step, TOTAL, FINAL)
        (decayed_lr, decayed), (undecayed_lr, undecayed) = seen[-1]
        warmed = pytest.approx(scheduled * min(1.0, xi * step), rel=1e-12)
        assert decayed_lr == undecayed_lr == warmed
        assert decayed_lr * decayed == pytest.approx(scheduled * decay, rel=1e-12)
        assert undecayed == 0.0


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_decay_is_decoupled_where_the_table_says_so(name):
    """With no gradient, decoupled decay multiplies a weight by 1 - lr decay.

    Coupled decay is a gradient: it moves adaptive optimizers by lr.
    """
    lr, decay = 1e-3, 0.1
    param = torch.nn.Parameter(torch.full((1,), 2.0, dtype=torch.float64))
    param.grad = torch.zeros_like(param)
    entry = find_entry(name)
    settings = {"lr": lr} | ({"switch_rate": 1.0} if "switch_rate" in entry.arguments() else {})
    make_optimizer(name, [param], settings, decay).step()
    decoupled = math.isclose(param.item(), 2.0 * (1 - lr * decay), rel_tol=1e-12)
    assert decoupled == (entry.decoupled or name == "SGD")  # both are the same for SGD's first step


@pytest.mark.parametrize("name", CONTROLS)
def test_a_control_is_its_class_with_a_warm_up_at_switch_rate(name):
    params = [torch.nn.Parameter(torch.zeros(1))]
    control = make_optimizer(name, params, {"lr": 0.1, "switch_rate": 0.5}, 0.03)
    assert isinstance(control, LinearWarmup)
    assert type(control.optimizer) is OPTIMIZERS[name].cls
    assert (control.rate, control.defaults["weight_decay"]) == (0.5, 0.03)


def test_arguments_are_the_classs_own_without_those_of_the_block():
    assert {"lr", "betas", "eps", "switch_rate"} <= set(find_entry("DualAdam").arguments())
    assert not {"params", "weight_decay", "decoupled_weight_decay"} & set(
        find_entry("NAdam").arguments()
    )
    assert find_entry("torch.optim.Adamax").cls is torch.optim.Adamax


@pytest.mark.parametrize("name", ["Adam2", "torch.optim.NoSuch", "torch.nn.Linear", "os.path.join"])
def test_a_name_that_leads_to_no_optimizer_is_refused(name):
    with pytest.raises(ValueError, match=name.replace(".", r"\.")):
        find_entry(name)


def test_a_dtype_is_written_by_its_name():
    params = [torch.nn.Parameter(torch.zeros(1))]
    optimizer = make_optimizer("DualAdam", params, {"state_dtype": "bfloat16"})
    assert optimizer.defaults["state_dtype"] == "bfloat16"


def test_a_class_that_refuses_its_first_step_is_heard_before_training():
    with pytest.raises(TypeError, match="closure"):
        try_step("torch.optim.LBFGS", {"lr": 0.1})


@pytest.mark.parametrize("path", ["torch.optim.Adamax", "torch.optim.SGD", "torch.optim.RAdam"])
def test_any_class_is_warmed_up_and_its_coupled_decay_keeps_its_value(path):
    param = torch.nn.Parameter(torch.ones(1))
    optimizer = make_optimizer(path, [param], {"lr": 0.1, "switch_rate": 0.5}, 0.1, warmup=True)
    assert isinstance(optimizer, LinearWarmup)
    assert (optimizer.rate, optimizer.decoupled) == (0.5, False)


def test_the_decay_of_another_class_is_taken_as_decoupled():
    optimizer = make_optimizer(
        "torch.optim.AdamW", [torch.nn.Parameter(torch.ones(1))], {"switch_rate": 0.5}, warmup=True
    )
    assert optimizer.decoupled


def test_a_class_with_its_own_switch_rate_is_not_warmed_up():
    with pytest.raises(ValueError, match="warmup must be false: the optimizer has its own"):
        find_entry("DualAdam").warmed()
