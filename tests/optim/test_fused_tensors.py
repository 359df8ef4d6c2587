"""Which tensors the fused step takes, which fall back to another path, which are refused."""

from __future__ import annotations

import copy
import ctypes
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from fused_cases import ALONE, assert_equal, bits, normal, trained
from torch import Tensor

from dualadam import DualAdam, InvAdam
from dualadam.optim import fused_status
from dualadam.optim._kernels import cpu as cpu_kernel
from dualadam.optim._kernels import tables
from dualadam.optim._step.columns import Columns, TensorRow
from dualadam.optim.state import moment_names

pytestmark = pytest.mark.usefixtures("needs_the_kernel")


def test_a_backward_through_values_that_the_step_overwrote_is_refused() -> None:
    """Without a bumped version counter this gradient would silently use the new weights."""
    param = torch.nn.Parameter(normal(5))
    loss = (
        param * param.detach().clone().requires_grad_()
    ).sum()  # saves param for the other factor
    loss = loss + (param**2).sum()
    param.grad = normal(5, seed=1)
    versions = param._version
    optimizer = DualAdam([param], fused=True)
    optimizer.step()
    assert param._version > versions
    assert all(
        optimizer.state[param][key]._version > 0 for key in ("exp_avg", "exp_avg_sq", "step")
    )
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_subnormal_numbers_are_flushed_inside_the_kernel_alone(
    threads: Callable[[int], None],
) -> None:
    threads(2)
    param = torch.nn.Parameter(torch.zeros(100_000))
    param.grad = torch.zeros_like(param)
    optimizer = DualAdam([param], fused=True)
    optimizer.step()
    optimizer.state[param]["exp_avg_sq"].fill_(1e-39)
    optimizer.step()
    assert optimizer.state[param]["exp_avg_sq"].count_nonzero() == 0
    tiny = torch.full((200_000,), 1e-39)
    assert torch.equal(
        tiny * 0.5, torch.full((200_000,), 5e-40)
    )  # on both threads, in torch's own kernels
    assert torch.tensor(5e-40).item() > 0


DENSE = {
    "channels_last": lambda: normal(8, 3, 5, 6).to(memory_format=torch.channels_last),
    "channels_last, 1x1": lambda: normal(8, 3, 1, 1).to(memory_format=torch.channels_last),
    "transposed": lambda: normal(30, 20).t(),
    "permuted": lambda: normal(4, 5, 6).permute(2, 0, 1),
    "scalar": lambda: normal(),
    "empty": lambda: normal(0, 3),
    "offset by one element": lambda: normal(65)[1:],
}


@pytest.mark.parametrize("name", DENSE)
def test_dense_layouts_take_the_kernel_as_they_are(name: str) -> None:
    values = [DENSE[name]()]
    params, optimizer = trained("fused", values, 3)
    assert fused_status(optimizer).paths == {"fused": 1}
    expected = trained("loop", values, 3)
    for e, a in zip(bits(*expected), bits(params, optimizer), strict=True):
        assert e.stride() == a.stride()
        torch.testing.assert_close(e, a, rtol=2e-6, atol=2e-6)


def test_a_parameter_is_updated_where_it_lies() -> None:
    storage = normal(100)
    param = torch.nn.Parameter(storage[3:50])
    param.grad = normal(47, seed=1)
    before, address = storage.clone(), param.data_ptr()
    DualAdam([param], lr=0.1, fused=True).step()
    assert param.data_ptr() == address
    changed = storage != before
    assert changed[3:50].all()
    assert not changed[:3].any()
    assert not changed[50:].any()


def row_of(param: Tensor, optimizer: Any) -> TensorRow:
    state = optimizer.state[param]
    assert param.grad is not None
    exp_avg, exp_avg_sq = (state[name] for name in moment_names(optimizer.param_groups[0]))
    return TensorRow(param, param.grad, exp_avg, exp_avg_sq, state["step"], place=0)


def columns_of(rows: list[TensorRow]) -> Columns:
    return Columns(*map(list, zip(*rows, strict=True)))


class Subclass(Tensor):
    pass


def with_grad(param: Tensor, grad: Tensor | None = None) -> Tensor:
    param = param.requires_grad_()
    param.grad = torch.ones_like(param) if grad is None else grad
    return param


FALLS_BACK = {
    "complex64": lambda: with_grad(normal(3, dtype=torch.complex64)),
    "not dense": lambda: with_grad(normal(6, 8)[::2, ::2]),
    "unlike the parameter": lambda: with_grad(normal(6, 8), normal(8, 6).t()),
    "negated": lambda: with_grad(normal(3), torch._neg_view(normal(3))),
    "without memory": lambda: with_grad(normal(3), torch._efficientzerotensor(3)),
    "subclass": lambda: with_grad(normal(3).as_subclass(Subclass)),
}


@pytest.mark.parametrize("reason", FALLS_BACK)
def test_what_the_kernel_does_not_take_falls_back_and_is_right(reason: str) -> None:
    results = []
    for path in ("loop", "fused"):
        params = [FALLS_BACK[reason](), with_grad(normal(4))]
        optimizer = DualAdam(params, **ALONE[path])
        optimizer.step()
        optimizer.step()
        results.append(params)
    paths = fused_status(optimizer).paths
    assert paths.pop("fused") == 1
    assert reason in next(iter(paths)), paths
    for e, a in zip(*results, strict=True):
        torch.testing.assert_close(e.detach(), a.detach(), rtol=2e-6, atol=2e-6)


def test_a_step_inside_torch_func_stops_with_the_words_of_the_loop() -> None:
    """The loop cannot change a captured tensor in place; the kernel must not take the gradient."""
    messages = []
    for path in ("loop", "fused"):
        param = with_grad(normal(3))
        optimizer = DualAdam([param], **ALONE[path])
        optimizer.step()
        before = param.detach().clone()

        def loss(x: Tensor, param: Tensor = param, optimizer: Any = optimizer) -> Tensor:
            param.grad = 2 * x
            optimizer.step()
            return x.sum()

        with pytest.raises(RuntimeError) as caught:
            torch.func.grad(loss)(normal(3))
        messages.append(str(caught.value))
        assert torch.equal(param.detach(), before)
    assert messages[0] == messages[1]


@pytest.fixture
def _has_interface() -> None:
    if not all(tables.torch_function(f"aoti_torch_get_{name}") for name in tables.QUESTIONS):
        pytest.skip("this torch has no stable C interface")


@pytest.mark.usefixtures("_has_interface")
def test_the_interface_of_this_torch_is_used():
    assert tables.torch_interface() is not None


@pytest.mark.usefixtures("_has_interface")
def test_an_interface_that_finds_other_tensors_is_not_used(monkeypatch: pytest.MonkeyPatch):
    other = torch.ones(3)
    monkeypatch.setattr(tables, "IMPLEMENTATION", lambda _: other._cdata)
    assert tables.torch_interface.__wrapped__() is None


@pytest.mark.usefixtures("_has_interface")
def test_the_default_device_does_not_hide_the_interface():
    with torch.device("meta"):
        assert tables.torch_interface.__wrapped__() is not None


@pytest.fixture(params=["by the library", "in Python"])
def _read(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tensors are described by torch's stable C interface, or by Python where torch lacks it."""
    if request.param == "in Python":
        monkeypatch.setattr(tables, "torch_interface", lambda: None)


@pytest.mark.usefixtures("_read")
@pytest.mark.parametrize("reason", FALLS_BACK)
def test_columns_with_one_tensor_that_rows_refuse_are_not_taken_whole(reason: str) -> None:
    image = normal(2, 3, 2, 2).contiguous(memory_format=torch.channels_last)
    plain = trained("fused", [normal(8), normal(0), image], 1)
    refused = DualAdam([FALLS_BACK[reason]()], fused=True)
    refused.step()
    rows = [
        row_of(p, optimizer)
        for optimizer in (plain[1], refused)
        for p in optimizer.param_groups[0]["params"]
    ]
    assert [cpu_kernel.refuses(row) is None for row in rows] == [True, True, True, False]
    alike = columns_of(rows[:3])
    assert tables.tables_if_alike(alike, cpu_kernel.ACCEPTS) == tables.tables_of(alike)
    for where in range(4):  # wherever it stands among the others
        mixed = [*rows[:where], rows[3], *rows[where:3]]
        assert tables.tables_if_alike(columns_of(mixed), cpu_kernel.ACCEPTS) is None


@pytest.mark.usefixtures("_read")
def test_a_state_of_another_shape_never_reaches_the_kernel() -> None:
    params, optimizer = trained("fused", [normal(8), normal(4, 2)], 1)
    first, row = (row_of(p, optimizer) for p in params)
    half, small = row.exp_avg.half(), torch.zeros(4)
    for wrong in (
        row._replace(exp_avg=small),
        row._replace(exp_avg_sq=small),
        row._replace(exp_avg_sq=row.exp_avg_sq.view(2, 4)),
        row._replace(exp_avg=row.exp_avg.view(8)),
        row._replace(step=torch.zeros(0)),
        row._replace(exp_avg=half, exp_avg_sq=half),
        row._replace(grad=row.grad.to("meta")),
    ):
        assert cpu_kernel.refuses(wrong)
        assert tables.tables_if_alike(columns_of([wrong]), cpu_kernel.ACCEPTS) is None
        assert tables.tables_if_alike(columns_of([first, wrong]), cpu_kernel.ACCEPTS) is None


@pytest.mark.usefixtures("_read")
def test_moments_in_8_bits_fit_a_parameter_if_they_have_a_byte_more_for_each_block(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    in_8_bits = cpu_kernel.ACCEPTS._replace(state_dtypes={torch.float32: (torch.uint8,)})
    monkeypatch.setattr(cpu_kernel, "ACCEPTS", in_8_bits)
    values = [normal(64), normal(129), normal(2, 3, 4, 5).to(memory_format=torch.channels_last)]
    params = [torch.nn.Parameter(value) for value in values]
    settings = {"state_dtype": "uint8", "stochastic_rounding": True}
    optimizer = DualAdam(params, foreach=False, **settings)
    for p in params:
        p.grad = torch.ones_like(p)
    optimizer.step()
    rows = [row_of(p, optimizer) for p in params]
    columns = columns_of(rows)
    read, expected = tables.tables_if_alike(columns, cpu_kernel.ACCEPTS), tables.tables_of(columns)
    assert read is not None
    assert read[:2] == expected[:2]
    for shapes in (read.shapes.tolist(), expected.shapes.tolist()):
        assert shapes[:7] == [0, 0, 0, 0, 0, 0, 4]
        found = [list((ctypes.c_int64 * 4).from_address(address)) for address in shapes[7:]]
        assert found == [list(params[2].shape), list(params[2].stride())]
    first, _, image = rows
    moment = image.exp_avg
    for wrong in (
        rows[1]._replace(exp_avg_sq=rows[1].exp_avg_sq[1:]),
        image._replace(grad=image.grad.contiguous()),
        image._replace(exp_avg=moment.repeat_interleave(2)[::2]),
        image._replace(exp_avg_sq=moment.repeat_interleave(2)[::2]),
    ):
        assert cpu_kernel.refuses(wrong)
        assert tables.tables_if_alike(columns_of([wrong]), cpu_kernel.ACCEPTS) is None
        assert tables.tables_if_alike(columns_of([first, wrong]), cpu_kernel.ACCEPTS) is None


def _no_gradient(params: list[Tensor], optimizer: Any) -> None:
    params[0].grad = None


def _other_memory(params: list[Tensor], optimizer: Any) -> None:
    params[0].data = params[0].data.clone()


def _other_dtype(params: list[Tensor], optimizer: Any) -> None:
    """As model.double() does: the parameters are the same objects."""
    for p in params:
        p.data, p.grad = p.data.double(), None if p.grad is None else p.grad.double()


def _other_shape(params: list[Tensor], optimizer: Any) -> None:
    params[0].data, params[0].grad = params[0].data[:2], None
    params[0].grad = torch.ones_like(params[0])
    for key in ("exp_avg", "exp_avg_sq"):
        optimizer.state[params[0]][key] = torch.ones_like(params[0])


def _other_moment(params: list[Tensor], optimizer: Any) -> None:
    optimizer.state[params[0]]["exp_avg"] = torch.ones_like(params[0])


def _other_state(params: list[Tensor], optimizer: Any) -> None:
    optimizer.state[params[0]] = {}


def _loaded(params: list[Tensor], optimizer: Any) -> None:
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


def _swapped(params: list[Tensor], optimizer: Any) -> None:
    params[0].grad = None
    torch.utils.swap_tensors(params[0], torch.nn.Parameter(params[0].detach() + 1))
    params[0].grad = torch.ones_like(params[0])


def _one_more(params: list[Tensor], optimizer: Any) -> None:
    params.append(torch.nn.Parameter(torch.ones(3)))
    params[-1].grad = torch.ones(3)
    optimizer.param_groups[0]["params"].append(params[-1])


CHANGES = (
    *(_no_gradient, _other_memory, _other_dtype, _other_shape, _other_moment),
    *(_other_state, _loaded, _swapped, _one_more),
)


@pytest.mark.parametrize("change", CHANGES)
def test_a_step_sees_what_was_changed_since_the_last_one(change: Callable[..., None]) -> None:
    outcomes = []
    for path in ("loop", "fused"):
        params, optimizer = trained(path, [normal(8), normal(4, 2)], 2)
        change(params, optimizer)
        for _ in range(2):
            optimizer.step()
        outcomes.append(bits(params, optimizer))
    for e, a in zip(*outcomes, strict=True):
        torch.testing.assert_close(a, e, rtol=2e-6, atol=2e-6)


def test_parameters_that_join_late_keep_their_own_step_in_one_group() -> None:
    for settings in ({}, {"switch_rate": 0.2}):
        outcomes = []
        for path in ("loop", "fused"):
            params = [torch.nn.Parameter(normal(50, seed=i)) for i in range(3)]
            optimizer = DualAdam(params, lr=0.01, **settings, **ALONE[path])
            for step in range(8):
                for i, p in enumerate(params):
                    p.grad = normal(50, seed=100 * step + i) if step >= 2 * i else None
                optimizer.step()
            outcomes.append(bits(params, optimizer))
        assert [float(s) for s in outcomes[1][5::3]] == [8, 6, 4]
        for e, a in zip(*outcomes, strict=True):
            torch.testing.assert_close(e, a, rtol=2e-6, atol=2e-6)


def scaled_run(
    optimizer_of: Callable[[list[Tensor]], Any], scale: float, overflow_at: int
) -> tuple[list[Tensor], Any, list[float]]:
    params = [
        torch.nn.Parameter(normal(20)),
        torch.nn.Parameter(normal(6, 8)[::2, ::2]),
    ]  # the second falls back
    optimizer = optimizer_of(params)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale, growth_interval=100)
    counts = []
    for step in range(4):
        optimizer.zero_grad()
        loss = (
            (params[0] * normal(20, seed=step)).sum() + (params[1] * normal(3, 4, seed=step)).sum()
        ) * (float("inf") if step == overflow_at else 1.0)
        scaler.scale(loss).backward()
        grads = [p.grad.clone() for p in params]
        scaler.step(optimizer)
        if optimizer._step_supports_amp_scaling:
            assert all(
                torch.equal(p.grad, g) or g.isnan().any()
                for p, g in zip(params, grads, strict=True)
            ), "gradients are left alone"
        scaler.update()
        counts.append(float(optimizer.state[params[0]]["step"]) if optimizer.state else 0.0)
    return params, optimizer, counts


@pytest.mark.parametrize("overflow_at", [-1, 0, 2])
def test_loss_scaling_inside_the_step_equals_unscaling_before_it(overflow_at: int) -> None:
    expected = scaled_run(lambda ps: DualAdam(ps), 1024.0, overflow_at)
    actual = scaled_run(lambda ps: DualAdam(ps, fused=True), 1024.0, overflow_at)
    assert actual[1]._step_supports_amp_scaling
    assert not expected[1]._step_supports_amp_scaling
    assert actual[2][-1] == 4 - (overflow_at >= 0)
    for e, a in zip(expected[0], actual[0], strict=True):
        torch.testing.assert_close(e.detach(), a.detach(), rtol=2e-6, atol=2e-6)


def test_amp_scaling_is_left_to_the_scaler_unless_every_group_is_fused() -> None:
    params = [torch.nn.Parameter(normal(3)), torch.nn.Parameter(normal(3))]
    optimizer = DualAdam([{"params": params[:1], "fused": True}, {"params": params[1:]}])
    assert not optimizer._step_supports_amp_scaling


def test_settings_that_exclude_each_other_are_refused() -> None:
    params = [torch.nn.Parameter(normal(3))]
    with pytest.raises(RuntimeError, match="`fused` does not support `differentiable`"):
        DualAdam(params, fused=True, differentiable=True)
    with pytest.raises(RuntimeError, match="`fused` and `foreach` cannot be `True` together"):
        DualAdam(params, fused=True, foreach=True)
    with pytest.raises(
        RuntimeError, match="`stochastic_rounding` does not support `differentiable`"
    ):
        DualAdam(params, stochastic_rounding=True, differentiable=True)
    with pytest.raises(
        ValueError,
        match=r"state_dtype must be None, torch\.float32, torch\.bfloat16 or torch\.uint8, or the "
        r"name of one of them, got torch\.float16",
    ):
        InvAdam(params, state_dtype=torch.float16)
    with pytest.raises(ValueError, match="state_dtype must be None for complex parameters"):
        DualAdam([torch.nn.Parameter(normal(3, dtype=torch.complex64))], state_dtype=torch.bfloat16)
    with pytest.raises(TypeError, match="stochastic_rounding must be True or False, got 1"):
        DualAdam(params, stochastic_rounding=1)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="stochastic_rounding=True has no effect"):
        DualAdam(params, stochastic_rounding=True)


def test_the_environment_variable_turns_the_kernel_off_with_a_warning_and_the_step_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("DUALADAM_DISABLE_FUSED", "1")
    with pytest.warns(
        UserWarning,
        match="fused=True has no effect: the environment variable DUALADAM_DISABLE_FUSED is set",
    ):
        params, optimizer = trained("fused", [normal(5)], 2)
    assert_equal(bits(*trained("loop", [normal(5)], 2)), bits(params, optimizer))
    assert fused_status(optimizer).paths == {
        "not fused: the environment variable DUALADAM_DISABLE_FUSED is set": 1
    }
    assert (
        str(fused_status())
        == "fused: not available: the environment variable DUALADAM_DISABLE_FUSED is set."
    )


def shared_memory(kind: str, numel: int) -> list[torch.nn.Parameter]:
    """Return parameters of which two share memory, wholly or in part."""
    first = torch.nn.Parameter(normal(numel))
    if kind == "listed twice":
        return [first, torch.nn.Parameter(normal(5, seed=1)), first]
    offset = {"another view": 0, "an overlapping view": numel // 3}[kind]
    return [first, torch.nn.Parameter(normal(5, seed=1)), torch.nn.Parameter(first.data[offset:])]


@pytest.mark.parametrize("kind", ["listed twice", "another view", "an overlapping view"])
def test_parameters_that_share_memory_are_stepped_one_after_the_other(
    kind: str, threads: Callable[[int], None]
) -> None:
    """Two threads would else write the same elements: eight equal runs differed by 0.025."""
    threads(2)

    def run(path: str) -> list[Tensor]:
        params = shared_memory(kind, 300_000)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns of what is listed twice
            optimizer = DualAdam(params, lr=0.01, switch_rate=0.2, weight_decay=0.1, **ALONE[path])
        for step in range(3):
            for i, p in enumerate(params):
                p.grad = normal(*p.shape, seed=10 * step + i)
            optimizer.step()
        return bits(params, optimizer)

    expected = run("loop")
    steps = [float(step) for step in expected[5::3]]
    assert steps == ([6, 3, 6] if kind == "listed twice" else [3, 3, 3])
    for _ in range(8):
        for e, a in zip(expected, run("fused"), strict=True):
            torch.testing.assert_close(a, e, rtol=2e-6, atol=2e-6)
    if kind == "listed twice":
        for e, a in zip(expected, run("foreach"), strict=True):
            assert torch.equal(e, a)
