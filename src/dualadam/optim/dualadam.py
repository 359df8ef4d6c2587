"""DualAdam and InvAdam: their formulas and settings, and the step that both share.

Read from top to bottom: the base with one step of the algorithm, then the two classes. The
equations are in ``_step/equations.py``, the readable path in ``_step/loop.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter, itemgetter
from typing import Any, TypeVar, overload

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import (
    ParamsT,
    _get_value,
    _use_grad_for_differentiable,
)

from dualadam.optim._step.columns import Columns
from dualadam.optim._step.fused import require_fused
from dualadam.optim._step.paths import choose_path
from dualadam.optim._step.rounding import mix_number
from dualadam.optim._step.seeds import begin_again, new_seed
from dualadam.optim._step.settings import StepSettings
from dualadam.optim._step.sharded import local_columns
from dualadam.optim.checks import (
    check_decay,
    check_groups,
    check_params,
    check_settings,
    check_storage,
    require_storable,
    state_dtype_changed,
)
from dualadam.optim.loading import completed_loading
from dualadam.optim.schedule import HAND_OVER_KEYS, with_switch_rate
from dualadam.optim.state import (
    moment_dtype,
    moment_names,
    new_state,
    restored_step,
    state_dtype_name,
)

# torch 2.13 renamed its check that a captured step is a capturable one
_HEALTH_CHECKS = ("_accelerator_graph_capture_health_check", "_cuda_graph_capture_health_check")
_check_graph_capture: Callable[[Optimizer], None] = next(
    getattr(Optimizer, name) for name in _HEALTH_CHECKS if hasattr(Optimizer, name)
)
Loss = TypeVar("Loss")
GRAD, IS_SPARSE = attrgetter("grad"), attrgetter("is_sparse")
STEP = itemgetter("step")


class _AdamBase(Optimizer):
    """All of InvAdam and DualAdam except the signature of the constructor."""

    def __init__(self, params: ParamsT, *, amsgrad: bool, **settings: Any) -> None:
        check_params(params)
        defaults = with_switch_rate(settings)
        check_settings({**defaults, "amsgrad": amsgrad}, known=defaults)
        defaults["state_dtype"] = state_dtype_name(defaults["state_dtype"])
        super().__init__(params, defaults)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group with settings of its own, checked like the constructor's arguments."""
        if isinstance(param_group, dict):
            known = {*self.defaults, "params", "param_names"}
            if "switch_rate" in self.defaults:
                if not param_group.keys().isdisjoint(HAND_OVER_KEYS):
                    param_group = with_switch_rate(param_group)
                known.update(HAND_OVER_KEYS)
            check_settings({**self.defaults, **param_group}, known)
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        group["state_dtype"] = state_dtype_name(group["state_dtype"])
        if group["stochastic_rounding"] and group["rounding_seed"] is None:
            if self.defaults["rounding_seed"] is None:
                self.defaults["rounding_seed"] = new_seed(self)
            group["rounding_seed"] = self.defaults["rounding_seed"]
        try:
            check_storage(group)
            check_decay(group)
            if group["fused"]:
                require_fused(group["params"])
        except (RuntimeError, ValueError):
            self.param_groups.pop()
            raise

    @overload
    def step(self, closure: None = None) -> None: ...
    @overload
    def step(self, closure: Callable[[], Loss]) -> Loss: ...
    @_use_grad_for_differentiable
    def step(self, closure: Callable[[], Loss] | None = None) -> Loss | None:
        """Perform one optimization step.

        Args:
            closure: evaluates the model again, with gradients enabled, and returns the loss.

        Returns:
            What the closure returned, or None.

        Raises:
            ValueError: a schedule has made an lr negative or nan; nothing has changed then.
        """
        _check_graph_capture(self)
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        if not (torch.compiler.is_compiling() and self._has_updated_outside_graph()):
            self._update()
        return loss

    def _update(self) -> None:
        """Advance all groups by one step."""
        if not torch.compiler.is_compiling():
            check_groups(self.param_groups)
        for group in self.param_groups:
            columns = Columns([], [], [], [], [], [])
            self._init_group(group, *columns)
            columns = local_columns(columns)
            update = choose_path(group, columns.params)
            update(columns, self._settings_of(group))

    @torch._disable_dynamo
    def _has_updated_outside_graph(self) -> bool:
        """Advance an optimizer with a fused group as if nothing were compiled; False for others.

        A kernel is compiled already. A graph would be compiled again for each new number of a
        group, even if it only asked whether the group is fused.
        """
        if any(group["fused"] for group in self.param_groups):
            self._update()
            return True
        return False

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
        """Append the columns of the group to the lists, and create missing state.

        torch.compile knows this method by its name: it runs it once, outside the graph.
        """
        if group["stochastic_rounding"]:
            begin_again()
        # a seed of 0 changes no place
        seed = mix_number(group["rounding_seed"] or 0)
        first_place = 0  # parameters in the groups before this one
        for earlier in self.param_groups:
            if earlier is group:
                break
            first_place += len(earlier["params"])
        # columns are built one by one: a tuple for each parameter would wake Python's collector
        of_group = group["params"]
        numbers = list(range(first_place, first_place + len(of_group)))
        params.extend(of_group)
        grads.extend(map(GRAD, of_group))
        if type(None) in set(map(type, grads)):
            numbers = [i for i, grad in zip(numbers, grads, strict=True) if grad is not None]
            params[:] = [p for p, grad in zip(params, grads, strict=True) if grad is not None]
            grads[:] = [grad for grad in grads if grad is not None]
        places.extend([number ^ seed for number in numbers])
        if any(map(IS_SPARSE, grads)):
            raise RuntimeError(
                f"{type(self).__name__} does not support sparse gradients; use sparse=False "
                "in the embedding or torch.optim.SparseAdam."
            )
        states = list(map(self.state.__getitem__, params))
        if not all(states):
            require_storable(group)
            for param, state in zip(params, states, strict=True):
                if not state:
                    state.update(new_state(param, group))
        try:
            for column, name in zip((exp_avgs, exp_avg_sqs), moment_names(group), strict=True):
                column.extend(map(itemgetter(name), states))
        except KeyError:
            raise state_dtype_changed(group) from None
        is_chosen = group["state_dtype"] is not None and bool(params)
        if is_chosen and exp_avgs[0].dtype != moment_dtype(params[0], group):
            raise state_dtype_changed(group)
        steps.extend(map(STEP, states))
        if group["differentiable"] and any(step.requires_grad for step in steps):
            raise RuntimeError("`requires_grad` is not supported for `step` in differentiable mode")

    def _settings_of(self, group: dict[str, Any]) -> StepSettings:
        """Return the group's settings as a step uses them."""
        on_device = group["capturable"] or group["differentiable"] or torch.compiler.is_compiling()
        # a kernel reads a tensor where it lies
        value = (lambda x: x) if on_device or group["fused"] else _get_value
        return StepSettings(
            lr=value(group["lr"]),
            beta1=value(group["betas"][0]),
            beta2=value(group["betas"][1]),
            eps=group["eps"],
            weight_decay=group["weight_decay"],
            switch_rate=group.get("switch_rate", 0.0),
            maximize=group["maximize"],
            on_device=on_device,
            stochastic_rounding=group["stochastic_rounding"],
            grad_scale=getattr(self, "grad_scale", None),
            found_inf=getattr(self, "found_inf", None),
        )

    @property
    def _step_supports_amp_scaling(self) -> bool:
        """Whether GradScaler leaves unscaling to the step: only where the step is fused."""
        return all(group["fused"] for group in self.param_groups)

    @torch._disable_dynamo
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state_dict of InvAdam, DualAdam, torch.optim.Adam or torch.optim.AdamW.

        As in torch, the saved groups replace all settings of this optimizer, ``fused`` and
        ``state_dtype`` too: change them in the saved groups, or in ``param_groups`` afterwards
        (``state_dtype`` in the saved groups alone). A setting that the saved groups lack
        (``switch_rate`` in AdamW's) keeps the value it has here. The moments get the dtype that
        the group's ``state_dtype`` says, where torch alone would cast them to the parameter's. A
        coupled decay of torch.optim.Adam becomes a decoupled one, with a warning.

        A step that was saved in another dtype is brought back to float32 or float64. A state of
        pytorch_optimizer's DualAdam, which counts the updates of a group, is continued from there.

        Raises:
            ValueError: the state was made with ``amsgrad=True``, which has no counterpart here, or
                by an optimizer unlike Adam; it has moments of another shape than its parameter's;
                or it has no count of updates, as that of the authors' release.
        """
        with completed_loading(self):
            super().load_state_dict(state_dict)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Complete groups and counts that an older version or another optimizer has saved."""
        super().__setstate__(state)
        for group in self.param_groups:
            for key, value in self.defaults.items():
                group.setdefault(key, value)
            group["state_dtype"] = state_dtype_name(group["state_dtype"])
            for param in group["params"]:
                if of_param := self.state.get(param):
                    of_param["step"] = restored_step(of_param["step"], param, group)


class DualAdam(_AdamBase):
    r"""Adam that starts as its inverse counterpart and hands over to Adam in 1 / switch_rate steps.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad
        v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        \hat m_t &= m_t / (1 - \beta_1^t), \quad \hat v_t = v_t / (1 - \beta_2^t), \quad
        r_t = \sqrt{\hat v_t} + \epsilon \\
        \alpha_t &= \max(0, 1 - \xi t) \\
        \theta_t &= (1 - \eta \lambda)\, \theta_{t-1} - \eta \left[
        (1 - \alpha_t)\, \hat m_t / r_t + \alpha_t\, \hat m_t r_t \right]

    t counts the updates of each parameter by itself, as in torch.optim.Adam. A parameter that
    joins late therefore gets the right bias correction, and a mixing phase of its own. From the
    first step with alpha_t = 0 on, the trajectory is that of torch.optim.AdamW.

    The step is exactly the Adam step times w_t = xi t + (1 - xi t) r_t^2. In ordinary training
    r_t^2 is far below 1, and DualAdam is Adam with a linear warm-up of 1 / switch_rate steps.
    Where r_t^2 is not small, the inverse part grows with the square of the loss scale.
    ``dualadam.diagnose`` shows which of the two a training run is.

    Args:
        params: parameters, named parameters, or dicts of parameter groups.
        lr: learning rate eta, at least 0. A 1-element tensor is accepted too (with foreach=True
            only if capturable).
        betas: decay rates of the two moments, each in [0, 1); two numbers or two 1-element tensors.
        eps: added to the root of the second moment, at least 0, in the unit of a gradient.
        weight_decay: decoupled decay lambda per unit of lr, at least 0, not scaled by alpha.
            AdamW's default is 0.01, this one is 0.
        switch_rate: xi per step, in [0, 1]. 0 is InvAdam throughout, 1 is Adam from the first
            step. None is 0.01, or what total_steps gives.
        total_steps: optimizer steps of the whole training, at least 1, instead of switch_rate:
            ``switch_rate_for(total_steps, hand_over_fraction)``. The group keeps the switch_rate.
        hand_over_fraction: share of total_steps after which DualAdam is Adam, in (0, 1]; None is
            0.16.
        foreach: True or False chooses or avoids the list-wise path. None uses it for parameters on
            CUDA, as torch does.
        fused: True makes one pass over the data per step, in compiled code. What the kernel cannot
            take falls back to another path: complex parameters, tensors with gaps in memory or
            laid out differently from each other, other dtypes and devices.
            ``dualadam.fused_status`` counts them. The kernel treats subnormal numbers as 0. None
            and False switch it off. Not with foreach or differentiable. A loaded state_dict
            replaces it.
        maximize: ascend instead of descend.
        capturable: keep the count on the parameter's device, so that a CUDA graph can capture the
            step.
        differentiable: let autograd record the step.
        state_dtype: dtype of the two moments, or its name, which the group keeps. None means the
            parameter's dtype, or float32 for parameters in half precision. "bfloat16" halves the
            memory of the moments; the arithmetic stays in float32. Rounded to nearest, a bfloat16
            second moment stalls when its relative change per step, which is at most 1 - beta2, is
            below 2e-3: use it with stochastic_rounding. "uint8" quarters the memory and needs
            stochastic_rounding: each moment takes 65 bytes for 64 parameters, in a row of blocks
            that ``dualadam.moments_of`` reads. Not for complex parameters, nor "uint8" for
            sharded ones. A loaded state_dict replaces it.
        stochastic_rounding: round bfloat16 parameters, and moments in bfloat16 or 8 bits, to one
            of their two neighbours at random, so that the mean is right, instead of to the nearest.
            The noise is a hash of rounding_seed, the parameter's number in the optimizer, its step
            and the element, so it is the same in every path and in a resumed run. float16 is always
            rounded to nearest.
        rounding_seed: tells the noise of several optimizers apart, in [0, 2^32). None numbers
            the optimizers that are made in a row, before one of them steps, from 0. The group keeps
            it. Give one to each process where a tool divides the parameters among optimizers
            (ZeRO).
        amsgrad: must be False; code written for torch.optim.AdamW may pass it.

    Raises:
        ValueError: an argument is out of range, or a group has a key that looks like a misspelt
            setting.
        TypeError: an argument has the wrong type.
        RuntimeError: two settings exclude each other, a gradient is sparse, or fused=True lacks
            its compiled kernel.

    Example:
        >>> import torch
        >>> from dualadam import DualAdam
        >>> w = torch.tensor([3.0, -2.0], requires_grad=True)
        >>> optimizer = DualAdam([w], lr=0.1, switch_rate=0.05)
        >>> for _ in range(300):
        ...     optimizer.zero_grad()
        ...     (w ** 2).sum().backward()
        ...     optimizer.step()
        >>> bool(w.abs().max() < 1e-3)
        True

    References:
        T. Shi, L. Chen, L. Jin, M. Zhou, arXiv:2603.07122. Deviations: eps is in both directions
        (as in their release); the mixing weight is followed to its end (their release drops the
        inverse part one step earlier).
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        switch_rate: float | None = None,
        *,
        total_steps: int | None = None,
        hand_over_fraction: float | None = None,
        foreach: bool | None = None,
        fused: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        state_dtype: torch.dtype | str | None = None,
        stochastic_rounding: bool = False,
        rounding_seed: int | None = None,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            switch_rate=switch_rate,
            total_steps=total_steps,
            hand_over_fraction=hand_over_fraction,
            foreach=foreach,
            fused=fused,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            state_dtype=state_dtype,
            stochastic_rounding=stochastic_rounding,
            rounding_seed=rounding_seed,
            amsgrad=amsgrad,
        )


class InvAdam(_AdamBase):
    r"""Adam's inverse counterpart: it multiplies the moments where Adam divides them.

    .. math::
        \theta_t = (1 - \eta \lambda)\, \theta_{t-1} - \eta\, \hat m_t (\sqrt{\hat v_t} + \epsilon)

    The moments are those of ``DualAdam``, which is this optimizer at switch_rate = 0. The step has
    the unit of a squared gradient: a loss that is c times as large gives a step c^2 times as large,
    and a usable lr is about 1 / vh times Adam's (near 100 on small networks). Never compare it at
    Adam's lr.

    Args:
        params, lr, betas, eps, weight_decay: as for ``DualAdam``.
        foreach, fused, maximize, capturable, differentiable: as for ``DualAdam``.
        state_dtype, stochastic_rounding, rounding_seed, amsgrad: as for ``DualAdam``.

    Raises:
        ValueError, TypeError, RuntimeError: as for ``DualAdam``.

    Example:
        >>> import torch
        >>> from dualadam import InvAdam
        >>> def first_step(scale):
        ...     w = torch.tensor([1.0], requires_grad=True)
        ...     (scale * w).sum().backward()
        ...     InvAdam([w], lr=1e-4).step()
        ...     return 1.0 - w.item()
        >>> round(first_step(10.0) / first_step(1.0))  # 10 times the gradient, 100 times the step
        100

    References:
        T. Shi, L. Chen, L. Jin, M. Zhou, arXiv:2603.07122. Deviation: eps is in the direction, as
        in their release.
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        *,
        foreach: bool | None = None,
        fused: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        state_dtype: torch.dtype | str | None = None,
        stochastic_rounding: bool = False,
        rounding_seed: int | None = None,
        amsgrad: bool = False,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            foreach=foreach,
            fused=fused,
            maximize=maximize,
            capturable=capturable,
            differentiable=differentiable,
            state_dtype=state_dtype,
            stochastic_rounding=stochastic_rounding,
            rounding_seed=rounding_seed,
            amsgrad=amsgrad,
        )


def unwrap(optimizer: Any) -> DualAdam | InvAdam:
    """Return the optimizer inside wrappers of training tools, which hold it as ``optimizer``."""
    inner, seen = optimizer, set()
    while not isinstance(inner, DualAdam | InvAdam):
        seen.add(id(inner))
        inner = getattr(inner, "optimizer", None)
        if inner is None or id(inner) in seen:
            raise TypeError(
                f"optimizer must be an InvAdam or a DualAdam, got {type(optimizer).__name__}."
            )
    return inner
