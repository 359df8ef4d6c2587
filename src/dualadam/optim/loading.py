"""Loading a state_dict of an optimizer with Adam's moments: what is refused, what is completed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch.optim import Optimizer

from dualadam.optim._step.quantised import is_quantised, shape_in_words, shape_of_moment
from dualadam.optim._step.sharded import sharding_of
from dualadam.optim._warn import warn
from dualadam.optim.checks import require_storable
from dualadam.optim.state import (
    MOMENTS,
    converted,
    moment_dtype,
    moment_names,
    restored_step,
    with_plain_names,
)

State = Mapping[str, Any]  # of one parameter
# keys of groups that say whether the decay is decoupled, and who writes them
COUPLED = {
    "decoupled_weight_decay": "torch.optim.Adam",
    "weight_decouple": "pytorch_optimizer's DualAdam",
}

RESHARD = (
    "Save and load with torch.distributed.checkpoint, whose get_optimizer_state_dict and "
    "set_optimizer_state_dict fit a state to any number of processes."
)


@contextmanager
def completed_loading(optimizer: Optimizer) -> Iterator[None]:
    """Check and complete what ``Optimizer.load_state_dict`` loads within this context.

    The hooks are registered here and not in the constructor, so that the first runs after the
    user's own hooks, and the second before them.
    """
    loaded: list[dict[str, Any]] = []

    def complete(_: Optimizer, saved: dict[str, Any]) -> dict[str, Any]:
        saved = {**saved, "state": completed_states(saved)}
        check_saved(saved)
        check_shapes(optimizer, saved)
        groups = completed_groups(optimizer, saved)
        for mine, theirs in zip(optimizer.param_groups, groups, strict=False):
            try:
                require_storable({**theirs, "params": mine["params"]})
            except ValueError as error:
                raise ValueError(
                    f"{error} The settings of a loaded group count, not those that the optimizer "
                    "was made with: change them in its param_groups before you load it."
                ) from None
        loaded.append({**saved, "param_groups": groups})
        return loaded[0]

    def restore(_: Optimizer) -> None:
        restore_state(optimizer, loaded[0])

    hooks = [
        optimizer.register_load_state_dict_pre_hook(complete),
        optimizer.register_load_state_dict_post_hook(restore, prepend=True),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def completed_states(saved: Mapping[str, Any]) -> dict[Any, State]:
    """Return the saved states under torch's names, with the group's count where a state has none.

    pytorch_optimizer counts the updates of a group, under the group's key ``step``.
    """
    states: dict[Any, State]
    states = {saved_id: with_plain_names(state) for saved_id, state in saved["state"].items()}
    for group in saved["param_groups"]:
        for saved_id in group["params"]:
            state = states.get(saved_id)
            if state and "step" not in state and "step" in group:
                states[saved_id] = {**state, "step": group["step"]}
    return states


def check_saved(saved: Mapping[str, Any]) -> None:
    """Refuse a state_dict that cannot be continued; warn where it is continued differently."""
    for state in saved["state"].values():
        check_keys(state)
    groups = saved["param_groups"]
    if any(group.get("amsgrad") for group in groups) or any(
        "max_exp_avg_sq" in state for state in saved["state"].values()
    ):
        raise ValueError(
            "The state was made with amsgrad=True, which has no counterpart here; "
            "load a state made without it."
        )
    for index, group in enumerate(groups):
        if "betas" not in group:
            keys = ", ".join(key for key in group if key != "params")
            raise ValueError(
                "The state must be that of an optimizer with Adam's moments, got one whose group "
                f"{index} has no betas but {keys or 'no settings'}."
            )
    for group in groups:
        for key, origin in COUPLED.items():
            if group.get("weight_decay") and group.get(key) is False:
                warn(
                    f"The coupled weight_decay {group['weight_decay']} of {origin} is decoupled "
                    "here."
                )


def check_keys(state: State) -> None:
    """Refuse the state of a parameter without Adam's keys."""
    if {"step", *MOMENTS} <= state.keys():
        if not all(isinstance(state[key], Tensor) for key in MOMENTS):
            raise ValueError(
                "The state of a parameter has no moments. A flattened state_dict is read by the "
                "names of this optimizer's state: make the optimizer with the checkpoint's "
                "state_dtype."
            )
        return
    if set(MOMENTS) <= state.keys() or {"m", "v"} <= state.keys():
        raise ValueError(
            "The state has moments but no count of updates, without which their bias correction "
            "cannot be continued: the authors' release of DualAdam does not save its count. "
            "Start with a new state."
        )
    raise ValueError(
        "The state of a parameter must have the keys step, exp_avg and exp_avg_sq, "
        f"got {', '.join(state) or 'none'}."
    )


def check_shapes(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Refuse moments of another shape than their parameter's, such as a resized vocabulary's."""
    number = 0
    # torch itself reports a wrong number of groups or parameters
    for group, of_saved in zip(optimizer.param_groups, saved["param_groups"], strict=False):
        names = group.get("param_names") or of_saved.get("param_names") or []
        for i, (param, saved_id) in enumerate(
            zip(group["params"], of_saved["params"], strict=False)
        ):
            label = f"parameter {number}" + (f" ({names[i]})" if i < len(names) else "")
            number += 1
            state = saved["state"].get(saved_id)
            if not state:
                continue
            for key in MOMENTS:
                check_shape(f"{key} of {label}", state[key], param)
            if isinstance(state["step"], Tensor) and state["step"].numel() != 1:
                raise ValueError(
                    f"step of {label} must be one number, got {tuple(state['step'].shape)}."
                )


def check_shape(name: str, moment: Tensor, param: Tensor) -> None:
    """Refuse a moment of another shape than its parameter's, or of another number of processes."""
    saved, now = num_processes(moment), num_processes(param)
    if moment.shape != shape_of_moment(param, moment.dtype):
        lengths = list(zip(moment.shape, param.shape, strict=False))
        shorter = [i for i, (of_moment, length) in enumerate(lengths) if of_moment < length]
        alike = len(moment.shape) == len(param.shape) and not is_quantised(moment)
        is_shard = alike and len(shorter) == 1
        raise ValueError(
            f"{name} must have its shape {tuple(param.shape)}, got {shape_in_words(moment)}. "
            "Resize the saved moments with the parameter, or leave out its state."
            + (f" If it is the shard of one process: {RESHARD}" if is_shard else "")
        )
    if saved != now:
        raise ValueError(
            f"{name} must be distributed over as many processes as the parameter ({now or 'none'}),"
            f" got one that is over {saved or 'none'}. {RESHARD}"
        )


def num_processes(tensor: Tensor) -> int:
    """Return over how many processes a DTensor is distributed; 0 for any other tensor."""
    sharding = sharding_of(tensor)
    return 0 if sharding is None else sharding.mesh.size()


def completed_groups(optimizer: Optimizer, saved: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the saved groups with the optimizer's own value for every setting that they lack."""
    settings = [
        {k: v for k, v in group.items() if k not in ("params", "param_names")}
        for group in optimizer.param_groups
    ]
    # torch itself reports a wrong number of groups
    settings += [{}] * (len(saved["param_groups"]) - len(settings))
    left_out = {"step"}  # pytorch_optimizer's count, which is in the states now
    if "switch_rate" not in optimizer.defaults:
        left_out.add("switch_rate")  # InvAdam continues a state of DualAdam
    return [
        {key: value for key, value in {**mine, **theirs}.items() if key not in left_out}
        for mine, theirs in zip(settings, saved["param_groups"], strict=False)
    ]


def restore_state(optimizer: Optimizer, saved: Mapping[str, Any]) -> None:
    """Load again what torch casts: moments to their parameter's dtype, steps of fused groups."""
    saved_ids = [i for group in saved["param_groups"] for i in group["params"]]
    params = [(param, group) for group in optimizer.param_groups for param in group["params"]]
    for saved_id, (param, group) in zip(saved_ids, params, strict=True):
        if not saved["state"].get(saved_id):
            continue
        loaded, state = saved["state"][saved_id], optimizer.state[param]
        dtype = moment_dtype(param, group)
        for key, name in zip(MOMENTS, moment_names(group), strict=True):
            moment = state.pop(key)
            if dtype != param.dtype or is_quantised(loaded[key]):
                moment = converted(key, loaded[key], param, dtype)
            state[name] = moment
        state["step"] = restored_step(loaded["step"], param, group)
