"""The two classes: their formulas, settings and sources."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import ParamsT

from dualadam.optim.dualadam_base import MixedAdam


class DualAdam(MixedAdam):
    r"""Adam that starts as its inverse counterpart and hands over to Adam within 1 / switch_rate steps.

    .. math::
        m_t &= \beta_1 m_{t-1} + (1 - \beta_1) g_t, \quad v_t = \beta_2 v_{t-1} + (1 - \beta_2) g_t^2 \\
        \hat m_t &= m_t / (1 - \beta_1^t), \quad \hat v_t = v_t / (1 - \beta_2^t), \quad r_t = \sqrt{\hat v_t} + \epsilon \\
        \alpha_t &= \max(0, 1 - \xi t) \\
        \theta_t &= (1 - \eta \lambda)\, \theta_{t-1} - \eta \left[ (1 - \alpha_t)\, \hat m_t / r_t + \alpha_t\, \hat m_t r_t \right]

    t counts the updates of each parameter by itself, as in torch.optim.Adam: one that joins late gets the right bias correction and
    its own mixing phase. From the first step with alpha_t = 0 on, the trajectory is torch.optim.AdamW's.

    The step is exactly the Adam step times w_t = xi t + (1 - xi t) r_t^2. In ordinary training r_t^2 is far below 1, and DualAdam is
    Adam with a linear warm-up of 1 / switch_rate steps; where it is not, the inverse part grows with the square of the loss scale.
    ``dualadam.diagnose`` says which of the two a training is.

    Args:
        params: parameters, named parameters, or dicts of parameter groups.
        lr: learning rate eta, at least 0; a 1-element tensor is taken too (not with foreach=True, unless capturable).
        betas: decay rates of the two moments, each in [0, 1); both numbers or both 1-element tensors.
        eps: added to the root of the second moment, at least 0, in the unit of a gradient.
        weight_decay: decoupled decay lambda per unit of lr, at least 0; not scaled by alpha. AdamW's default is 0.01, this one 0.
        switch_rate: xi per step, in [0, 1]: 0 is InvAdam for ever, 1 is Adam from the first step. See ``switch_rate_for``.
        foreach: True or False to choose the list-wise path; None takes it for parameters on CUDA, as torch does.
        fused: True takes one pass over the data per step, in compiled code (on the CPU; see ``dualadam.optim.fused_status``). What the
            kernel does not take (complex or other dtypes, tensors that are not dense or laid out unlike each other, other devices) takes
            the path it would take without. Subnormal numbers count as 0. None and False leave it off. Not with foreach or differentiable.
        maximize: ascend instead of descend.
        capturable: keep the count on the parameter's device, so that the step can be captured in a CUDA graph.
        differentiable: let autograd record the step.
        state_dtype: dtype of the two moments: None is the parameter's, float32 for half-precision parameters; torch.bfloat16 halves
            their memory, with the arithmetic still in float32. Rounded to nearest, a bfloat16 second moment stalls once its relative
            change per step, at most 1 - beta2, is below 2e-3: use it with stochastic_rounding. Not for complex parameters.
        stochastic_rounding: round bfloat16 parameters and state to one of the two neighbours, with probabilities that make the mean
            right, instead of to the nearest. The noise is a hash of the parameter's place in the optimizer, its step and the element:
            the same in every path, and in a resumed run. float16 is always rounded to nearest.

    Raises:
        ValueError: an argument is out of range, or a group has a key that looks like a misspelt setting.
        TypeError: an argument has the wrong type.
        RuntimeError: settings that exclude each other, a sparse gradient, or fused=True without the compiled kernel.

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
        T. Shi, L. Chen, L. Jin, M. Zhou, arXiv:2603.07122. Deviations: eps in both directions (as their release has it), the mixing
        weight followed to its end (their release drops the inverse part one step earlier).
    """

    def __init__(
        self,
        params: ParamsT,
        lr: float | Tensor = 1e-3,
        betas: tuple[float | Tensor, float | Tensor] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        switch_rate: float = 0.01,
        *,
        foreach: bool | None = None,
        fused: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        state_dtype: torch.dtype | None = None,
        stochastic_rounding: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "switch_rate": switch_rate,
                "foreach": foreach,
                "fused": fused,
                "maximize": maximize,
                "capturable": capturable,
                "differentiable": differentiable,
                "state_dtype": state_dtype,
                "stochastic_rounding": stochastic_rounding,
            },
        )


class InvAdam(MixedAdam):
    r"""Adam's inverse counterpart: the moments are multiplied instead of divided.

    .. math:: \theta_t = (1 - \eta \lambda)\, \theta_{t-1} - \eta\, \hat m_t (\sqrt{\hat v_t} + \epsilon)

    with the moments of ``DualAdam``, which this is at switch_rate = 0. The step is a gradient squared: multiplying the loss by c
    multiplies it by c^2, and a usable lr is about 1 / vh times Adam's (near 100 on small networks). Never compare it at Adam's lr.

    Args:
        params, lr, betas, eps, weight_decay, foreach, fused, maximize, capturable, differentiable, state_dtype, stochastic_rounding:
            as for ``DualAdam``.

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
        >>> round(first_step(10.0) / first_step(1.0))  # ten times the gradient, a hundred times the step
        100

    References:
        T. Shi, L. Chen, L. Jin, M. Zhou, arXiv:2603.07122. Deviation: eps in the direction, as their release has it.
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
        state_dtype: torch.dtype | None = None,
        stochastic_rounding: bool = False,
    ) -> None:
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": betas,
                "eps": eps,
                "weight_decay": weight_decay,
                "foreach": foreach,
                "fused": fused,
                "maximize": maximize,
                "capturable": capturable,
                "differentiable": differentiable,
                "state_dtype": state_dtype,
                "stochastic_rounding": stochastic_rounding,
            },
        )


def unwrap(optimizer: Optimizer) -> DualAdam | InvAdam:
    """Return the optimizer inside the wrappers that tools put around it: each holds the next as ``optimizer``."""
    inner: object = optimizer
    while not isinstance(inner, DualAdam | InvAdam):
        if not isinstance(inner, Optimizer) or not hasattr(inner, "optimizer"):
            raise TypeError(
                f"optimizer must be an InvAdam or a DualAdam, got {type(optimizer).__name__}."
            )
        inner = inner.optimizer
    return inner
