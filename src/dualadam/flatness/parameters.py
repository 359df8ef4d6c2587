"""The parameters that a loss is differentiated with respect to."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dualadam.errors import InvalidTypeError, InvalidValueError


def parameter_names(
    model: nn.Module, params: Iterable[str | Tensor] | None, dtype: torch.dtype | None
) -> list[str]:
    """Return the names of the chosen parameters, each once, in the given order.

    Args:
        model: the module that owns the parameters.
        params: names or tensors of the model; None chooses all parameters that need a gradient.
        dtype: the precision of the measurement; None is the parameters' own.

    Raises:
        InvalidValueError: no parameter is chosen, or one is frozen or not of the model.
        InvalidTypeError: a parameter is complex, or measured in half precision.
    """
    if params is None:
        names = [name for name, param in model.named_parameters() if param.requires_grad]
    else:
        chosen = [params] if isinstance(params, str | Tensor) else params
        names = list(dict.fromkeys(_name_of(param, model) for param in chosen))
    if not names:
        raise InvalidValueError(
            "params must hold at least one parameter that needs a gradient, got none; "
            "call requires_grad_() on some."
        )
    for name in names:
        param = model.get_parameter(name)
        if not param.requires_grad:
            raise InvalidValueError(
                f"params must need a gradient, got the frozen {name!r}; "
                "call requires_grad_() on it."
            )
        if param.is_complex():
            raise InvalidTypeError(f"params must be real, got {name!r} of {param.dtype}.")
        if (dtype or param.dtype) not in (torch.float32, torch.float64):
            raise InvalidTypeError(
                f"params must be float32 or float64, got {name!r} of {param.dtype}; "
                "dtype=torch.float32 measures a converted copy."
            )
    return names


def _name_of(param: str | Tensor, model: nn.Module) -> str:
    """Return the first name of a parameter, given by any of its names or as the tensor."""
    by_name = dict(model.named_parameters(remove_duplicate=False))
    if isinstance(param, str) and param not in by_name:
        raise InvalidValueError(
            f"params must name parameters of the model, got {param!r}; it has {', '.join(by_name)}."
        )
    wanted = by_name[param] if isinstance(param, str) else param
    for name, candidate in by_name.items():
        if candidate is wanted:
            return name
    raise InvalidValueError(
        "params must be parameters of the model, got a tensor that is none of them."
    )
