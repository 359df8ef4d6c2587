"""What InvAdam and DualAdam share: checks, state, collecting the tensors of a group, choosing the path."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, overload

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import (
    ParamsT,
    _default_to_fused_or_foreach,
    _get_scalar_dtype,
    _get_value,
    _use_grad_for_differentiable,
)

from dualadam.optim._step.foreach import update_foreach
from dualadam.optim._step.fused import require_fused, update_fused
from dualadam.optim._step.loop import update_loop
from dualadam.optim._step.settings import Columns, StepSettings
from dualadam.optim._step.slices import arithmetic_dtype
from dualadam.optim.checks import check_saved, check_settings

# torch 2.13 renamed the check that a captured step is a capturable one
_HEALTH_CHECKS = ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check")
_check_graph_capture: Callable[[Optimizer], None] = next(
    getattr(Optimizer, name) for name in _HEALTH_CHECKS if hasattr(Optimizer, name)
)
Loss = TypeVar("Loss")


class MixedAdam(Optimizer):
    """All of InvAdam and DualAdam but the constructor's signature."""

    def __init__(self, params: ParamsT, defaults: dict[str, Any]) -> None:
        check_settings(defaults, known=defaults)
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters with its own settings, checked like the constructor's arguments."""
        if isinstance(param_group, dict):
            check_settings(
                {**self.defaults, **param_group}, known={*self.defaults, "params", "param_names"}
            )
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        if group["fused"]:
            require_fused(group["params"])
        _check_storage(group)

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether GradScaler leaves unscaling to the step: as torch's, only where the step is fused."""
        return all(group["fused"] for group in self.param_groups)

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        for group in self.param_groups:
            for (
                key,
                value,
            ) in (
                self.defaults.items()
            ):  # a group pickled or saved by an older version or by another optimizer
                group.setdefault(key, value)
            for param in group["params"]:
                state_of_param = self.state.get(param, {})
                if state_of_param and not isinstance(state_of_param["step"], Tensor):
                    state_of_param["step"] = _new_step(param, group, float(state_of_param["step"]))

    @torch._disable_dynamo
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state_dict of InvAdam, DualAdam, torch.optim.Adam or torch.optim.AdamW.

        A setting that the saved groups lack (``switch_rate`` in AdamW's) keeps the value it has here. The state gets the dtype that
        the group's ``state_dtype`` says, where torch alone would cast it to the parameter's. A coupled decay of torch.optim.Adam
        becomes a decoupled one, with a warning.

        Raises:
            ValueError: the state was made with ``amsgrad=True``, which has no counterpart here, or by an optimizer unlike Adam.
        """
        loaded: list[dict[str, Any]] = []

        # Registered here and not in the constructor: the first runs after the user's own hooks, the second before them.
        def complete(_: Optimizer, saved: dict[str, Any]) -> dict[str, Any]:
            check_saved(saved)
            settings = [
                {k: v for k, v in g.items() if k not in ("params", "param_names")}
                for g in self.param_groups
            ]
            settings += [{}] * (
                len(saved["param_groups"]) - len(settings)
            )  # torch reports a wrong number of groups itself
            groups = [
                {**mine, **theirs}
                for mine, theirs in zip(settings, saved["param_groups"], strict=False)
            ]
            if "switch_rate" not in self.defaults:  # InvAdam continues a state of DualAdam
                groups = [{k: v for k, v in g.items() if k != "switch_rate"} for g in groups]
            loaded.append({**saved, "param_groups": groups})
            return loaded[0]

        def keep_state_dtype(_: Optimizer) -> None:
            saved_ids = (i for g in loaded[0]["param_groups"] for i in g["params"])
            params = ((p, _state_dtype(p, g)) for g in self.param_groups for p in g["params"])
            for saved_id, (param, dtype) in zip(saved_ids, params, strict=True):
                if dtype != param.dtype and saved_id in loaded[0]["state"]:
                    for key in ("exp_avg", "exp_avg_sq"):
                        value = loaded[0]["state"][saved_id][key]
                        self.state[param][key] = value.to(
                            device=param.device, dtype=dtype, copy=True
                        )

        hooks = [
            self.register_load_state_dict_pre_hook(complete),
            self.register_load_state_dict_post_hook(keep_state_dtype, prepend=True),
        ]
        try:
            super().load_state_dict(state_dict)
        finally:
            for hook in hooks:
                hook.remove()

    def _init_group(
        self,
        group: dict[str, Any],
        params: list[Tensor],
        grads: list[Tensor],
        exp_avgs: list[Tensor],
        exp_avg_sqs: list[Tensor],
        steps: list[Tensor],
        places: list[int],
    ) -> None:
        """Append what the group will update to the lists, creating missing state. torch.compile runs this part once, outside the graph."""
        first_place = 0  # of the group's parameters among all the optimizer's
        for earlier in self.param_groups:
            if earlier is group:
                break
            first_place += len(earlier["params"])
        for place, param in enumerate(group["params"], first_place):
            if param.grad is None:
                continue
            if param.grad.is_sparse:
                raise RuntimeError(
                    f"{type(self).__name__} does not support sparse gradients; use sparse=False in the embedding or torch.optim.SparseAdam."
                )
            state = self.state[param]
            if not state:
                state["step"] = _new_step(param, group)
                dtype = _state_dtype(param, group)
                state["exp_avg"] = torch.zeros_like(
                    param, memory_format=torch.preserve_format, dtype=dtype
                )
                state["exp_avg_sq"] = torch.zeros_like(
                    param, memory_format=torch.preserve_format, dtype=dtype
                )
            if group["differentiable"] and state["step"].requires_grad:
                raise RuntimeError(
                    "`requires_grad` is not supported for `step` in differentiable mode"
                )
            params.append(param)
            grads.append(param.grad)
            exp_avgs.append(state["exp_avg"])
            exp_avg_sqs.append(state["exp_avg_sq"])
            steps.append(state["step"])
            places.append(place)

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], Loss]) -> Loss: ...
    @_use_grad_for_differentiable
    def step(self, closure: Callable[[], Loss] | None = None) -> Loss | None:
        """Perform one optimization step.

        Args:
            closure: reevaluates the model under enabled gradients and returns the loss.

        Returns:
            What the closure returned, or None.
        """
        _check_graph_capture(self)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            lists: Columns = ([], [], [], [], [], [])
            self._init_group(group, *lists)
            on_device = (
                group["capturable"] or group["differentiable"] or torch.compiler.is_compiling()
            )
            value = (
                (lambda x: x) if on_device or group["fused"] else _get_value
            )  # a kernel reads a tensor where it lies
            update: Callable[..., None]
            if group["fused"]:
                update = partial(
                    update_fused,
                    grad_scale=getattr(self, "grad_scale", None),
                    found_inf=getattr(self, "found_inf", None),
                )
            else:
                update = update_foreach if _use_foreach(group, lists[0]) else update_loop
            settings = StepSettings(
                lr=value(group["lr"]),
                beta1=value(group["betas"][0]),
                beta2=value(group["betas"][1]),
                eps=group["eps"],
                weight_decay=group["weight_decay"],
                switch_rate=group.get("switch_rate", 0.0),
                maximize=group["maximize"],
                on_device=on_device,
                stochastic_rounding=group["stochastic_rounding"],
            )
            update(*lists, settings)
        return loss


def _new_step(param: Tensor, group: dict[str, Any], value: float = 0.0) -> Tensor:
    """Return a count of updates: where a captured graph or a kernel reads it, else on the CPU, where reading it costs nothing."""
    on_device = group["capturable"] or group["fused"]
    return torch.tensor(
        value, dtype=_get_scalar_dtype(), device=param.device if on_device else "cpu"
    )


def _state_dtype(param: Tensor, group: dict[str, Any]) -> torch.dtype:
    """Return the dtype of both moments: the group's state_dtype, or the parameter's, but at least float32."""
    return group["state_dtype"] or arithmetic_dtype(param)


def _check_storage(group: dict[str, Any]) -> None:
    """Refuse a state dtype for complex parameters, and warn where stochastic rounding has nothing to round."""
    if group["state_dtype"] is not None and any(p.is_complex() for p in group["params"]):
        raise ValueError(
            f"state_dtype must be None for complex parameters, got {group['state_dtype']}."
        )
    if (
        group["stochastic_rounding"]
        and group["params"]
        and torch.bfloat16 not in {group["state_dtype"], *(p.dtype for p in group["params"])}
    ):
        warnings.warn(
            "stochastic_rounding=True has no effect: neither the parameters nor their state are bfloat16. state_dtype=torch.bfloat16 "
            "stores the state so.",
            stacklevel=2,
        )


def _use_foreach(group: dict[str, Any], params: list[Tensor]) -> bool:
    """Choose the path of a group by torch's rule.

    | foreach | differentiable | devices           | path    |
    |---------|----------------|-------------------|---------|
    | True    | no             | any               | foreach |
    | False   | any            | any               | loop    |
    | None    | no             | all CUDA or alike | foreach |
    | None    | else           |                   | loop    |

    fused=True goes before all of it. A tensor lr without capturable takes the loop (foreach=True is refused with it).
    """
    if isinstance(group["lr"], Tensor) and not group["capturable"]:
        if group["foreach"]:
            raise RuntimeError(
                "lr as a Tensor is not supported for capturable=False and foreach=True"
            )
        return False
    if group["foreach"] is None:
        return _default_to_fused_or_foreach(params, group["differentiable"], use_fused=False)[1]
    return bool(group["foreach"])
