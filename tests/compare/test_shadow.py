"""A shadow Adam finds the schedule of an optimizer, and the share that no schedule explains."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dualadam import DualAdam
from dualadam.compare import ShadowResult, shadow
from dualadam.compare.figures import draw_shadows
from dualadam.compare.warmup import LinearWarmup
from dualadam.errors import InvalidTypeError, InvalidValueError, UnreachableError

LR = 1e-3
# the parameters are below 1, so their difference is off by at most half a unit in the last place
# of each of two numbers, 2^-24, and an update is about LR: a share of (2^-24 / LR)^2 = 4e-9
ROUNDING = (2**-24 / LR) ** 2
INPUTS = torch.randn(256, 6, generator=torch.Generator().manual_seed(1))
TARGETS = INPUTS.sin().sum(1, keepdim=True)


def make_model(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.Tanh(), nn.Linear(16, 1)).to(dtype)


def loss_of(model, step, scale=1.0):
    rows = torch.randint(0, 256, (16,), generator=torch.Generator().manual_seed(step))
    dtype = next(model.parameters()).dtype
    inputs, targets = INPUTS[rows].to(dtype), TARGETS[rows].to(dtype)
    return scale * (model(inputs) - targets).square().mean()


def followed(make, steps=40, scale=1.0, scheduler=None, dtype=torch.float32, **options):
    """Train with a shadow; return what it found and the model."""
    model = make_model(dtype)
    optimizer = make(model.parameters())
    follower = shadow(optimizer, **options)
    schedule = scheduler(optimizer) if scheduler else None
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        loss_of(model, step, scale).backward()
        optimizer.step()
        if schedule:
            schedule.step()
    return follower.result(), model


def adamw(params, **settings):
    return torch.optim.AdamW(params, **{"lr": LR, "weight_decay": 0.5} | settings)


def cosine(optimizer):
    return torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=50)


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("settings", [{}, {"betas": (0.8, 0.95), "eps": 1e-3}])
def test_adamw_is_adam_with_its_lr_whatever_its_decay(foreach, settings):
    found, _ = followed(lambda params: adamw(params, foreach=foreach, **settings))
    assert found.steps == tuple(range(1, 41))
    assert found.schedule[0] == pytest.approx([LR] * 40, rel=2 * math.sqrt(ROUNDING))
    assert max(found.unexplained[0]) < ROUNDING


def test_the_schedule_of_a_scheduler_and_of_a_warm_up_is_found():
    found, _ = followed(lambda p: LinearWarmup(adamw(p), 0.1), scheduler=cosine)
    wanted = [
        LR * min(1, 0.1 * t) * (1 + math.cos(math.pi * (t - 1) / 50)) / 2 for t in range(1, 41)
    ]
    # the last updates are ten times smaller than LR
    assert found.schedule[0] == pytest.approx(wanted, rel=20 * math.sqrt(ROUNDING))
    assert max(found.unexplained[0]) < 100 * ROUNDING


@pytest.mark.parametrize("scale", [1e-3, 1.0])
def test_dualadam_is_adam_with_a_warm_up_as_far_as_its_second_moments_are_small(scale):
    rate = 0.05

    def dual(params):
        return DualAdam(params, lr=LR, switch_rate=rate, weight_decay=0.5, eps=1e-12)

    squares = []  # the largest r^2 of every step

    def watch(optimizer, *_):
        group = optimizer.param_groups[0]
        states = [optimizer.state[p] for p in group["params"]]
        corrected = [s["exp_avg_sq"].max().item() / (1 - 0.999 ** float(s["step"])) for s in states]
        squares.append(max(corrected))

    def watched(params):
        optimizer = dual(params)
        optimizer.register_step_post_hook(watch)
        return optimizer

    found, _ = followed(watched, scale=scale)
    for step, s, share, r2 in zip(
        found.steps, found.schedule[0], found.unexplained[0], squares, strict=True
    ):
        weight = min(1.0, rate * step)
        # coordinate by coordinate the step is Adam's times weight + (1 - weight) r^2, and s / LR is
        # a weighted mean of these factors; what is left over is at most their spread around weight
        spread = (1 - weight) * r2
        slack = 2 * math.sqrt(ROUNDING) / weight
        assert weight * (1 - slack) <= s / LR <= (weight + spread) * (1 + slack)
        assert share <= (spread / weight + slack) ** 2
    small = max(found.unexplained[0]) < 1e-6
    assert small == (scale < 1)  # gradients 1000 times smaller, squares 1e6 times


class Lion(torch.optim.Optimizer):
    """The sign of a mixture of momentum and gradient (Chen et al., 2023)."""

    def __init__(self, params, lr, betas=(0.9, 0.99)):
        super().__init__(params, {"lr": lr, "betas": betas})

    @torch.no_grad()
    def step(self, closure=None):
        for group in self.param_groups:
            beta1, beta2 = group["betas"]
            for p in group["params"]:
                m = self.state[p].setdefault("exp_avg", torch.zeros_like(p))
                p.sub_(torch.lerp(p.grad, m, beta1).sign_(), alpha=group["lr"])
                m.lerp_(p.grad, 1 - beta2)


OTHERS = {
    "SGD": (lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), 0.1),
    "Lion": (lambda p: Lion(p, lr=LR), 0.01),
    "NAdam": (lambda p: torch.optim.NAdam(p, lr=LR), 0.01),
    "Adam with L2": (lambda p: torch.optim.Adam(p, lr=LR, weight_decay=0.5), 0.01),
}


@pytest.mark.parametrize("name", OTHERS)
def test_an_optimizer_that_is_no_adam_leaves_a_share_that_no_schedule_explains(name):
    make, least = OTHERS[name]
    found, _ = followed(make)
    assert all(math.isfinite(s) for s in found.schedule[0])
    assert all(0 <= share <= 1 + 1e-6 for share in found.unexplained[0])
    assert least < found.mean_unexplained < 1


def test_the_coefficient_and_the_share_are_those_of_least_squares():
    param = nn.Parameter(torch.tensor([1.0, 2.0], dtype=torch.float64))
    optimizer = torch.optim.SGD([param], lr=1.0)
    follower = shadow(optimizer)
    param.grad = torch.tensor([3.0, -4.0], dtype=torch.float64)
    optimizer.step()
    row = follower.result().to_rows()[0]  # Adam's first direction is (1, -1), d is the gradient
    assert (row.step, row.group) == (1, 0)
    assert row.equivalent_lr == pytest.approx(7 / 2)
    assert row.unexplained == pytest.approx(1 - (7 / (5 * math.sqrt(2))) ** 2)
    assert row.update_norm == pytest.approx(5)


def test_groups_have_schedules_of_their_own_and_the_total_weighs_them_by_their_updates():
    first, second = nn.Parameter(torch.ones(4)), nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([{"params": [first], "lr": 0.5}, {"params": [second]}], lr=0.25)
    follower = shadow(optimizer)
    first.grad, second.grad = torch.full((4,), 1e3), torch.tensor([0.25, 0.0])
    optimizer.step()
    found = follower.result()
    assert found.schedule[0][0] == pytest.approx(500)  # 0.5 * 1e3 / 1
    assert found.main_group == 0
    assert found.total_unexplained[0] == pytest.approx(0, abs=1e-6)
    assert len(found.to_rows()) == 2
    first.grad = None  # an unused group is not in a step
    optimizer.step()
    assert follower.result().schedule[0][1] is None
    assert follower.result().total_unexplained[1] == pytest.approx(found.unexplained[1][0], abs=0.1)


def test_a_shadow_changes_nothing_of_the_training():
    model, plain = followed(adamw)[1], make_model()
    optimizer = adamw(plain.parameters())
    for step in range(1, 41):
        optimizer.zero_grad()
        loss_of(plain, step).backward()
        optimizer.step()
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True)
    )


def test_a_closure_is_seen_where_its_gradients_are_new():
    model = make_model()
    optimizer = adamw(model.parameters())
    follower = shadow(optimizer)
    for step in range(1, 11):

        def closure(step=step):
            optimizer.zero_grad()
            loss = loss_of(model, step)
            loss.backward()
            return loss

        optimizer.step(closure) if step % 2 else optimizer.step(closure=closure)
    assert max(follower.result().unexplained[0]) < ROUNDING


def test_a_step_that_gradscaler_skips_is_not_seen():
    model = make_model()
    optimizer = adamw(model.parameters())
    follower = shadow(optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    for step in range(1, 11):
        optimizer.zero_grad()
        scaler.scale(loss_of(model, step, math.inf if step == 4 else 1.0)).backward()
        scaler.step(optimizer)
        scaler.update()
    found = follower.result()
    assert follower.num_steps == len(found.steps) == 9
    assert max(found.unexplained[0]) < ROUNDING


def test_a_fused_step_that_unscales_and_skips_by_itself_is_seen_as_it_acts():
    param = nn.Parameter(torch.zeros(2))
    optimizer = adamw([param], fused=True)
    follower = shadow(optimizer)
    for scale, found_inf in ((4.0, 0.0), (4.0, 1.0), (2.0, 0.0)):
        # what GradScaler leaves on a fused optimizer for the length of its step
        optimizer.grad_scale, optimizer.found_inf = torch.tensor(scale), torch.tensor(found_inf)
        param.grad = torch.ones(2) * scale
        optimizer.step()
    assert follower.num_steps == 2
    moments = follower._states[param]
    assert moments["exp_avg"].tolist() == pytest.approx([0.19, 0.19])  # of gradients 1 and 1


def test_gradients_that_are_maximized_are_turned_around():
    found, _ = followed(lambda p: adamw(p, maximize=True), steps=5)
    assert found.schedule[0] == pytest.approx([LR] * 5, rel=1e-3)


def test_complex_parameters_are_pairs_of_numbers():
    param = nn.Parameter(torch.tensor([1 + 2j, -1j]))
    optimizer = adamw([param])
    follower = shadow(optimizer)
    for step in range(3):
        param.grad = torch.tensor([step - 1j, 2 + 1j])
        optimizer.step()
    assert follower.result().schedule[0] == pytest.approx([LR] * 3, rel=1e-3)


def test_parameters_in_half_precision_have_moments_in_float32():
    found, model = followed(lambda p: adamw(p, lr=0.1), dtype=torch.bfloat16, steps=5)
    assert found.schedule[0] == pytest.approx([0.1] * 5, rel=0.05)  # 8 bits
    assert next(model.parameters()).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("every", "steps"),
    [(4, (1, 5, 9, 13, 17, 21, 25)), (None, (*range(1, 22), 23, 25))],
)
def test_recorded_steps_are_equally_spaced_or_dense_at_first(every, steps):
    found, _ = followed(adamw, steps=25, every=every)
    assert found.steps == steps
    assert max(found.unexplained[0]) < ROUNDING  # the moments saw every step


def test_a_long_run_has_about_two_hundred_points():
    step = count = 1
    while step < 100_000:
        step = max(step + 1, math.ceil(1.05 * step))
        count += 1
    assert 180 < count < 210


def test_it_holds_two_numbers_per_parameter_between_steps_and_none_when_removed():
    model = make_model()
    optimizer = adamw(model.parameters())
    follower = shadow(optimizer)
    for step in (1, 2):
        optimizer.zero_grad()
        loss_of(model, step).backward()
        optimizer.step()
        assert not follower._before
        assert follower.memory_bytes == 2 * sum(p.nbytes for p in model.parameters())
        if step == 1:
            first = follower.result()
    follower.remove()
    optimizer.step()
    assert follower.memory_bytes == 0
    assert follower.num_steps == 2
    assert follower.result().steps == (1, 2)
    assert first.steps == (1,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"every": 0}, "every must be at least 1, or None, got 0"),
        ({"betas": (0.9, 1.0)}, r"betas must be two numbers in \[0, 1\), got \(0.9, 1.0\)"),
        ({"eps": -1.0}, "eps must be finite and at least 0, got -1.0"),
    ],
)
def test_an_option_out_of_range_is_refused(options, message):
    optimizer = adamw(make_model().parameters())
    with pytest.raises(InvalidValueError, match=message):
        shadow(optimizer, **options)
    assert not optimizer._optimizer_step_pre_hooks


def test_what_has_not_one_dense_gradient_per_step_is_refused():
    params = list(make_model().parameters())
    with pytest.raises(InvalidTypeError, match="one gradient per step, got LBFGS"):
        shadow(torch.optim.LBFGS(params))
    with pytest.raises(InvalidTypeError, match=r"must be a torch.optim.Optimizer, got list"):
        shadow(params)
    table = nn.Embedding(4, 2, sparse=True)
    optimizer = torch.optim.SparseAdam(table.parameters())
    shadow(optimizer)
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(InvalidTypeError, match="must be dense for a shadow"):
        optimizer.step()


def test_a_result_is_written_and_read_again(tmp_path):
    found, _ = followed(adamw, steps=3)
    found.write(tmp_path / "found.json")
    assert ShadowResult.read(tmp_path / "found.json") == found
    (tmp_path / "other.json").write_text('{"steps": 3}')
    with pytest.raises(InvalidValueError, match=r"must be a file that ShadowResult\.write made"):
        ShadowResult.read(tmp_path / "other.json")
    with pytest.raises(UnreachableError):
        ShadowResult.read(tmp_path / "none.json")


def test_the_mean_over_runs_needs_the_same_steps():
    one, other = (followed(lambda p, lr=lr: adamw(p, lr=lr), steps=3)[0] for lr in (LR, 3 * LR))
    mean = ShadowResult.mean([one, other])
    assert mean.schedule[0] == pytest.approx([2 * LR] * 3, rel=1e-3)
    with pytest.raises(InvalidValueError, match="same recorded steps"):
        ShadowResult.mean([one, followed(adamw, steps=4)[0]])


def test_the_mean_share_weighs_steps_and_not_points():
    shares = (1.0, 1.0, 0.0)
    found = ShadowResult((1, 2, 102), ((None,) * 3,), (shares,), ((1.0,) * 3,), ())
    assert found.mean_unexplained == pytest.approx((1 + 100 * 0.5) / 101)
    with pytest.raises(InvalidValueError, match="must have a number for group 0"):
        found.at(1, 0)


@pytest.mark.parametrize("steps", [1, 30])
def test_the_figure_of_a_loop_shows_both_numbers_of_every_training(steps):
    found = {name: followed(OTHERS[name][0], steps=steps)[0] for name in ("SGD", "Lion")}
    above, below = draw_shadows(found).figure.axes
    for axes, column in ((above, "schedule"), (below, "unexplained")):
        assert len(axes.lines) == 2
        for line, result in zip(axes.lines, found.values(), strict=True):
            assert line.get_ydata().tolist() == pytest.approx(getattr(result, column)[0])
