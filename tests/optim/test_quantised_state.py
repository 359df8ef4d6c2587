"""DualAdam and InvAdam with their moments in 8 bits: steps, saving, loading, readers."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
from cases import BIT_EXACT, LAYOUTS, PATHS, assert_same_bits, compiles, randn, state_bits
from torch import Tensor, nn
from torch.distributed import init_device_mesh
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.distributed.tensor import Shard, distribute_tensor

from dualadam import DualAdam, InvAdam, diagnose, fused_status, moments_of
from dualadam.flatness import MeanLoss, preconditioner
from dualadam.optim._kernels.cpu import INSTRUCTION_SETS
from dualadam.optim._step import loop, slices
from dualadam.optim._step.columns import TensorRow

pytestmark = pytest.mark.usefixtures("needs_the_kernel")
paths = pytest.mark.parametrize("path", PATHS)
IN_8_BITS: dict[str, Any] = {"state_dtype": torch.uint8, "stochastic_rounding": True}
MOMENTS = ("exp_avg", "exp_avg_sq")
STORED = ("exp_avg_8bit", "exp_avg_sq_8bit")


def sizes(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    shapes = ((7, 30), (64,), (), (0, 3), (129,))
    values = [randn(*shape, seed=i).to(dtype) for i, shape in enumerate(shapes)]
    return [*values, randn(4, 5, 6, 7).to(dtype, memory_format=torch.channels_last)]


def permuted() -> list[Tensor]:
    """Return dense tensors in other orders than that of their indices."""
    return [
        randn(40, 100, 3, 3).to(memory_format=torch.channels_last),  # enough for two threads
        randn(5, 3, 7, 7).to(memory_format=torch.channels_last),
        randn(2, 3, 4, 5, 6).to(memory_format=torch.channels_last_3d),
        randn(700, 3).t(),
        randn(3, 700).t(),
        randn(6, 5, 4, 3).permute(2, 0, 3, 1),
        randn(3, 1, 70).permute(2, 1, 0),
    ]


def set_grads(params: list[Tensor], step: int) -> None:
    for i, p in enumerate(params):
        p.grad = torch.empty_like(p).copy_(0.1 * randn(*p.shape, seed=100 * step + i))


def trained(
    path: str, steps: int = 5, values: list[Tensor] | None = None, kind: Any = DualAdam, **more: Any
) -> tuple[list[Tensor], Any]:
    settings = {"switch_rate": 0.3, "weight_decay": 0.1} if kind is DualAdam else {"lr": 0.1}
    values = sizes() if values is None else values
    params: list[Tensor] = [nn.Parameter(v.clone()) for v in values]
    optimizer = kind(params, **{**settings, **IN_8_BITS, **PATHS[path], **more})
    for step in range(steps):
        set_grads(params, step)
        optimizer.step()
    return params, optimizer


def saved_as(state_dtype: str, optimizer: Any) -> dict[str, Any]:
    """Return the state_dict of an optimizer with another state_dtype in its group."""
    saved: dict[str, Any] = copy.deepcopy(optimizer.state_dict())
    saved["param_groups"][0]["state_dtype"] = state_dtype
    return saved


def continued(params: list[Tensor], optimizer: Any) -> list[Tensor]:
    for step in (5, 6):
        set_grads(params, step)
        optimizer.step()
    return state_bits(params, optimizer)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("kind", [DualAdam, InvAdam])
def test_loop_and_foreach_take_the_same_step_in_every_dtype_and_layout(
    dtype: torch.dtype, kind: Any
):
    outcomes = [
        state_bits(
            *trained(path, values=[*sizes(dtype), randn(6, 8).to(dtype)[::2, ::2]], kind=kind)
        )
        for path in BIT_EXACT
    ]
    assert_same_bits(*outcomes)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", [DualAdam, InvAdam])
@pytest.mark.parametrize("instruction_set", INSTRUCTION_SETS)
def test_the_kernel_makes_the_state_of_the_loop_bit_for_bit(
    dtype: torch.dtype, kind: Any, instruction_set: str, monkeypatch: pytest.MonkeyPatch
):
    """The parameters are as with a bfloat16 state: the kernel forms one division less."""
    monkeypatch.setenv("DUALADAM_INSTRUCTION_SET", instruction_set)
    values = [randn(size, seed=size).to(dtype) for size in (1, 63, 64, 65, 200, 1000)]
    values[-1][700:] = 0  # a block in which nothing has a gradient of its own size
    values += [value.to(dtype) for value in permuted()]
    (ours, fused), (theirs, loop_) = (trained(path, 6, values, kind) for path in ("fused", "loop"))
    paths = fused_status(fused).paths
    assert paths == {"fused": len(values)}
    for p, q in zip(ours, theirs, strict=True):
        for key in (*STORED, "step"):
            assert torch.equal(fused.state[p][key], loop_.state[q][key])
        # bfloat16 is rounded at random: the last bits of a float32 may choose the other neighbour
        rtol = 1e-5 if dtype == torch.float32 else 2**-7
        torch.testing.assert_close(p, q, rtol=rtol, atol=1e-6)


@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_the_kernel_makes_a_block_with_an_inf_or_nan_nan_as_the_loop_does(bad: float):
    states = []
    for path in ("fused", "loop"):
        (param,), optimizer = trained(path, values=[randn(192)])
        param.grad[100] = bad
        optimizer.step()
        states.append([optimizer.state[param][key] for key in STORED])
        nan = moments_of(optimizer.state[param], param).exp_avg.isnan().view(3, 64)
        assert nan.all(1).tolist() == nan.any(1).tolist() == [False, True, False]
    assert_same_bits(*states)


def test_a_gradient_laid_out_unlike_its_parameter_takes_another_path_and_the_status_says_so():
    params, optimizer = trained("fused", 0, sizes()[-2:])
    for param in params:
        param.grad = randn(*param.shape).clone()
    optimizer.step()
    why = "not fused: state or gradient laid out in memory unlike the parameter"
    assert fused_status(optimizer).paths == {"fused": 1, why: 1}


@paths
def test_the_state_takes_65_bytes_for_64_parameters_and_moment(path: str):
    (param,), optimizer = trained(path, values=[randn(640)])
    state = optimizer.state[param]
    assert [state[key].untyped_storage().nbytes() for key in STORED] == [650, 650]
    assert state["step"].dtype == torch.float64  # counts beyond 2^24 for the noise


@paths
def test_a_step_stays_near_that_of_a_float32_state(path: str):
    """From a common state one step differs by nothing: 8 bits round what is stored alone."""
    params, optimizer = trained(path)
    twin_params = [nn.Parameter(p.detach().clone()) for p in params]
    twin = DualAdam(twin_params, switch_rate=0.3, weight_decay=0.1, **PATHS[path])
    twin.load_state_dict(saved_as("float32", optimizer))
    for values, optim in ((params, optimizer), (twin_params, twin)):
        set_grads(values, 9)
        optim.step()
    for ours, full in zip(params, twin_params, strict=True):
        # the kernel forms one division less: a few units of the step and the parameter
        torch.testing.assert_close(ours, full, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("path", BIT_EXACT)
def test_pieces_make_the_same_parameters_and_state_as_the_whole(
    monkeypatch: pytest.MonkeyPatch, path: str, dtype: torch.dtype
):
    whole = state_bits(*trained(path, values=sizes(dtype)))
    monkeypatch.setattr(slices, "SHARE_OF_ALL", 1)
    monkeypatch.setattr(loop, "SHARE_OF_LARGEST", 1)
    monkeypatch.setattr(slices, "MOST", {"cpu": 70})
    monkeypatch.setattr(slices, "LEAST", 1)
    params, optimizer = trained(path, values=sizes(dtype))
    assert_same_bits(whole, state_bits(params, optimizer))
    moments = (optimizer.state[params[0]][key] for key in STORED)
    row = TensorRow(params[0], params[0].grad, *moments, step=torch.tensor(1.0), place=0)
    with torch.no_grad():
        assert [piece.first for piece in slices.pieces(row, 70)] == [0, 64, 128, 192]


def through_state_dict(optimizer: Any, fresh: Any) -> Any:
    fresh.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    return fresh


def through_file(optimizer: Any, fresh: Any) -> Any:
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    fresh.load_state_dict(torch.load(file, weights_only=True))
    return fresh


@paths
@pytest.mark.parametrize("way", [through_state_dict, through_file])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_resumed_run_repeats_the_straight_one_bit_for_bit(way, path: str, dtype: torch.dtype):
    params, optimizer = trained(path, values=sizes(dtype))
    copies: list[Tensor] = [nn.Parameter(p.detach().clone()) for p in params]
    resumed = way(optimizer, DualAdam(copies, **PATHS[path]))
    assert resumed.param_groups[0]["state_dtype"] == "uint8"
    assert_same_bits(continued(params, optimizer), continued(copies, resumed))


@paths
@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda run: pickle.loads(pickle.dumps(run))])
def test_a_copied_or_pickled_run_continues_bit_for_bit(duplicate, path: str):
    run = trained(path)
    assert_same_bits(continued(*duplicate(run)), continued(*run))


@pytest.mark.parametrize("flatten", [False, True])
@paths
def test_the_state_passes_through_a_distributed_checkpoint(path: str, flatten: bool):
    options = StateDictOptions(flatten_optimizer_state_dict=flatten)

    def make() -> tuple[nn.Module, DualAdam]:
        torch.manual_seed(0)
        model = nn.Linear(40, 3)
        return model, DualAdam(model.parameters(), **IN_8_BITS, **PATHS[path])

    (model, optimizer), (twin, resumed) = make(), make()
    set_grads(list(model.parameters()), 0)
    optimizer.step()
    twin.load_state_dict(model.state_dict())
    saved = copy.deepcopy(get_optimizer_state_dict(model, optimizer, options=options))
    set_optimizer_state_dict(twin, resumed, saved, options=options)
    assert_same_bits(
        continued(list(model.parameters()), optimizer),
        continued(list(twin.parameters()), resumed),
    )


@pytest.mark.parametrize("kind", [torch.optim.AdamW, torch.optim.Adam])
@pytest.mark.parametrize("way", [{"fused": True}, {"fused": False}, {"foreach": True}])
def test_torchs_optimizers_find_no_moments_in_it(kind: Any, way: dict[str, bool]):
    """Its fused step would take the bytes for numbers."""
    (param,), optimizer = trained("loop", values=[randn(300)])
    before = param.detach().clone()
    theirs = kind([param], **way)
    theirs.load_state_dict(optimizer.state_dict())
    with pytest.raises(KeyError, match="exp_avg"):
        theirs.step()
    assert torch.equal(param.detach(), before)


@paths
@pytest.mark.parametrize("name", ["uint8", "float32"])
def test_a_state_that_was_saved_under_torchs_names_loads(path: str, name: str):
    """So the first checkpoints in 8 bits have it."""
    params, optimizer = trained(path)
    saved = saved_as(name, optimizer)
    older = copy.deepcopy(saved)
    for state in older["state"].values():
        for key, stored in zip(MOMENTS, STORED, strict=True):
            state[key] = state.pop(stored)
    outcomes = []
    for checkpoint in (saved, older):
        copies: list[Tensor] = [nn.Parameter(p.detach().clone()) for p in params]
        loaded = DualAdam(copies, **PATHS[path])
        loaded.load_state_dict(checkpoint)
        names = STORED if name == "uint8" else MOMENTS
        assert all(loaded.state[p].keys() == {"step", *names} for p in copies)
        outcomes.append(continued(copies, loaded))
    assert_same_bits(*outcomes)


@paths
def test_saved_groups_replace_the_settings_of_the_optimizer_as_in_torch(path: str):
    params, optimizer = trained(path)
    full = DualAdam(params, **PATHS[path])
    full.load_state_dict(saved_as("float32", optimizer))
    full.param_groups[0]["stochastic_rounding"] = False
    in_8_bits = DualAdam(params, fused=True, **IN_8_BITS)
    in_8_bits.load_state_dict(full.state_dict())
    assert in_8_bits.param_groups == full.param_groups
    assert moments_of(in_8_bits.state[params[0]], params[0]).exp_avg.dtype == torch.float32
    assert "exp_avg" in in_8_bits.state[params[0]]


def test_moments_that_a_flattened_state_lost_are_named():
    """torch reads it by the names of the optimizer's own state, and leaves {} where it has none."""
    _, optimizer = trained("loop", 1, [randn(3)])
    saved = copy.deepcopy(optimizer.state_dict())
    saved["state"][0] = {"step": torch.tensor(1.0), **{key: {} for key in MOMENTS}}
    with pytest.raises(ValueError, match="make the optimizer with the checkpoint's state_dtype"):
        optimizer.load_state_dict(saved)


@paths
def test_a_state_dtype_set_by_hand_counts_before_the_first_step_and_is_refused_after_it(path: str):
    expected = trained(path)
    params, by_hand = trained(path, 0, state_dtype="bfloat16")
    by_hand.param_groups[0]["state_dtype"] = torch.uint8
    for step in range(5):
        set_grads(params, step)
        by_hand.step()
    assert_same_bits(state_bits(*expected), state_bits(params, by_hand))
    by_hand.param_groups[0]["state_dtype"] = None
    with pytest.raises(RuntimeError, match="Change it in the groups of state_dict"):
        by_hand.step()
    by_hand.param_groups[0] |= {"state_dtype": "uint8", "stochastic_rounding": False}
    with pytest.raises(ValueError, match="'uint8' needs stochastic_rounding=True"):
        by_hand.step()
    assert_same_bits(state_bits(*expected), state_bits(params, by_hand))


def test_moments_of_no_state_and_of_another_parameter_say_what_to_pass():
    (param,), optimizer = trained("loop", 0, [randn(30)])
    with pytest.raises(
        ValueError, match=r"got none\. A parameter has a state after its first step"
    ):
        moments_of(optimizer.state[param], param)
    (param,), optimizer = trained("loop", 1, [randn(30)])
    with pytest.raises(ValueError, match=r"in its shape \(3,\), got 30 elements in 8 bits: pass"):
        moments_of(optimizer.state[param], torch.ones(3))


@paths
@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_other_states_load_into_8_bits_and_back(path: str, name: str):
    """From 8 bits to float32 exactly; to 8 bits and to bfloat16 to the nearest."""
    params, optimizer = trained(path)
    copies: list[Tensor] = [nn.Parameter(p.detach().clone()) for p in params]
    other = DualAdam(copies, **PATHS[path])
    other.load_state_dict(saved_as(name, optimizer))
    for p, q in zip(params, copies, strict=True):
        moments = moments_of(optimizer.state[p], p)
        for key, moment in zip(MOMENTS, moments, strict=True):
            assert torch.equal(other.state[q][key], moment.to(getattr(torch, name)))
    back = DualAdam(params, **PATHS[path])
    back.load_state_dict(saved_as("uint8", other))
    for p in params:
        for old, new in zip(
            moments_of(optimizer.state[p], p), moments_of(back.state[p], p), strict=True
        ):
            # half a spacing; a number that was rounded up to a power of 2 has twice the offset
            largest = old.abs().max().item() if old.numel() else 0.0
            torch.testing.assert_close(new, old, rtol=2**-4, atol=2**-13 * largest)


@paths
def test_adamws_state_continues_in_8_bits(path: str):
    values = sizes()[:1]
    (param,) = (nn.Parameter(v.clone()) for v in values)
    adamw = torch.optim.AdamW([param])
    set_grads([param], 0)
    adamw.step()
    optimizer = DualAdam([param], **IN_8_BITS, **PATHS[path])
    optimizer.load_state_dict(adamw.state_dict())
    for ours, theirs in zip(
        moments_of(optimizer.state[param], param),
        moments_of(adamw.state[param], param),
        strict=True,
    ):
        largest = theirs.abs().max().item()
        torch.testing.assert_close(ours, theirs, rtol=2**-4, atol=2**-17 * largest)


def test_a_saved_layout_of_memory_does_not_matter():
    """channels_last and contiguous parameters number their elements alike."""
    value = randn(4, 5, 6, 7)
    runs = [
        trained("loop", values=[value.to(memory_format=layout)], weight_decay=0.0)
        for layout in (torch.contiguous_format, torch.channels_last)
    ]
    (params, optimizer), (_, other) = runs
    optimizer.load_state_dict(other.state_dict())
    moved = moments_of(optimizer.state[params[0]], params[0]).exp_avg
    full = trained("loop", values=[value], state_dtype=None, stochastic_rounding=False)
    exact = full[1].state[full[0][0]]["exp_avg"]
    # each of five steps rounds by up to 1/8, and the sum forgets a tenth a step
    assert (moved - exact).norm() < 0.2 * exact.norm()


@paths
@pytest.mark.parametrize(("before", "after"), [(40, 30), (30, 40)])
def test_moments_of_another_size_are_refused(path: str, before: int, after: int):
    _, saved = trained(path, values=[randn(before, 8)])
    params, optimizer = trained(path, values=[randn(after, 8)])
    bits = state_bits(params, optimizer)
    words = rf"{after}, 8\), got {8 * before} elements in 8 bits"
    with pytest.raises(ValueError, match=r"exp_avg of parameter 0 must have its shape \(" + words):
        optimizer.load_state_dict(saved.state_dict())
    assert_same_bits(bits, state_bits(params, optimizer))
    params[0].data = randn(before, 8)
    set_grads(params, 0)
    with pytest.raises(RuntimeError, match=r"must have the shape of its parameter"):
        optimizer.step()


@paths
def test_diagnose_and_the_preconditioner_see_the_numbers(path: str):
    model = nn.Linear(30, 7)
    params = list(model.parameters())
    optimizer = DualAdam(params, switch_rate=0.3, **IN_8_BITS, **PATHS[path])
    for step in range(2):
        set_grads(params, step)
        optimizer.step()
    full = DualAdam(params)
    full.load_state_dict(saved_as("float32", optimizer))
    assert diagnose(optimizer) == diagnose(full)
    loss = MeanLoss(model, lambda m, x: m(x).square().sum(), [randn(2, 30)])
    assert torch.equal(preconditioner(loss, optimizer), preconditioner(loss, full))


@paths
def test_it_needs_stochastic_rounding(path: str):
    weight = nn.Parameter(torch.ones(3))
    with pytest.raises(ValueError, match="'uint8' needs stochastic_rounding=True"):
        DualAdam([weight], state_dtype="uint8", **PATHS[path])
    optimizer = DualAdam([weight], **PATHS[path])
    with pytest.raises(ValueError, match="'uint8' needs stochastic_rounding=True"):
        optimizer.add_param_group({"params": [nn.Parameter(torch.ones(3))], "state_dtype": "uint8"})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize(
    ("dtype", "settings", "message"),
    [
        (torch.float32, {"stochastic_rounding": False}, "'uint8' needs stochastic_rounding=True"),
        (torch.float32, {"state_dtype": "int8"}, r"must be None, .* one of them, got 'int8'"),
        (torch.complex64, {}, "state_dtype must be None for complex"),
    ],
)
def test_a_state_that_cannot_be_kept_is_refused_before_it_is_loaded(dtype, settings, message):
    saved = copy.deepcopy(trained("loop", 1, [randn(3)])[1].state_dict())
    saved["param_groups"][0].update(settings)
    optimizer = DualAdam([nn.Parameter(torch.ones(3, dtype=dtype))])
    with pytest.raises(ValueError, match=message) as caught:
        optimizer.load_state_dict(saved)
    assert "int8" in message or "settings of a loaded group count" in str(caught.value)
    assert not optimizer.state


@pytest.mark.filterwarnings("ignore")  # of torch.distributed, about a group of one process
def test_sharded_parameters_are_refused():
    store = torch.distributed.HashStore()
    torch.distributed.init_process_group("gloo", store=store, rank=0, world_size=1)
    try:
        mesh = init_device_mesh("cpu", (1,))
        weight = nn.Parameter(distribute_tensor(torch.ones(4, 3), mesh, [Shard(0)]))
        with pytest.raises(ValueError, match="'uint8' is not for sharded parameters"):
            DualAdam([weight], **IN_8_BITS)
    finally:
        torch.distributed.destroy_process_group()


def test_complex_parameters_are_refused():
    weight = nn.Parameter(torch.ones(3, dtype=torch.complex64))
    with pytest.raises(ValueError, match="state_dtype must be None for complex"):
        DualAdam([weight], **IN_8_BITS)


@compiles
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # inside torch's compiler
@paths
def test_a_compiled_step_makes_the_same_state(path: str):
    outcomes = []
    for wrap in (lambda step: step, lambda step: torch.compile(step, backend="eager")):
        torch._dynamo.reset()
        params, optimizer = trained(
            path, 1, [randn(100, 3), randn(5)], lr=torch.tensor(1e-3), capturable=True
        )
        step = wrap(optimizer.step)
        for number in range(3):
            set_grads(params, number)
            step()
        outcomes.append([optimizer.state[p][key] for p in params for key in STORED])
    torch._dynamo.reset()
    assert_same_bits(*outcomes)


def test_the_layouts_include_tensors_with_gaps_and_empty_ones():
    """What the table of layouts has, 8 bits take too, unless it is complex."""
    for name, make in LAYOUTS.items():
        values = make()
        if any(v.is_complex() for v in values):
            continue
        params, optimizer = trained("loop", values=values)
        assert all(p.isfinite().all() for p in params), name
        assert len(optimizer.state) == len(params)


@pytest.mark.parametrize("state_dtype", [None, "bfloat16"])
def test_a_state_loaded_from_8_bits_lies_in_memory_as_its_parameter(state_dtype: str | None):
    value = torch.randn(8, 16, 3, 3, generator=torch.Generator().manual_seed(0))
    param = torch.nn.Parameter(value.to(memory_format=torch.channels_last))
    param.grad = torch.ones_like(param)
    in_8_bits = DualAdam([param], state_dtype="uint8", stochastic_rounding=True)
    in_8_bits.step()
    saved = in_8_bits.state_dict()
    saved["param_groups"][0]["state_dtype"] = state_dtype
    loaded = DualAdam([param])
    loaded.load_state_dict(saved)
    expected = moments_of(in_8_bits.state[param], param)
    for key in MOMENTS:
        moment = loaded.state[param][key]
        assert moment.stride() == param.stride()
        assert torch.equal(moment, getattr(expected, key).to(moment.dtype))
