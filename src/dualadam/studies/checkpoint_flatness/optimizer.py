"""The optimizer of a checkpoint, made again from its state_dict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torch.optim import Adam, AdamW, Optimizer

from dualadam.errors import InvalidValueError
from dualadam.optim import DualAdam, InvAdam

CLASSES = {"Adam": Adam, "AdamW": AdamW, "InvAdam": InvAdam, "DualAdam": DualAdam}


@dataclass(frozen=True)
class SavedOptimizer:
    """The optimizer that trained a model.

    Attributes:
        name: one of CLASSES.
        state: its state_dict.
    """

    name: str
    state: Mapping[str, Any]

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> SavedOptimizer | None:
        """Return the optimizer of a file's content, or None if it has none.

        Raises:
            InvalidValueError: the name is unknown, or there is no state_dict beside it.
        """
        name, state = content.get("optimizer"), content.get("optimizer_state_dict")
        if name is None and state is None:
            return None
        if name not in CLASSES:
            raise InvalidValueError(
                f"'optimizer' must be one of {', '.join(CLASSES)} in the checkpoint, got {name!r}."
            )
        if not isinstance(state, Mapping) or not {"state", "param_groups"} <= state.keys():
            raise InvalidValueError(
                "'optimizer_state_dict' must be the optimizer's state_dict() in the checkpoint, "
                f"got {type(state).__name__}."
            )
        return cls(name, state)

    def make(self, model: nn.Module) -> Optimizer:
        """Return the optimizer of the model's parameters.

        Parameters are found by their names if the optimizer was made with names, else one group is
        taken to hold all parameters in the model's order.

        Raises:
            InvalidValueError: the state does not fit the model.
        """
        groups = self.state["param_groups"]
        if len(groups) > 1 and not all("param_names" in group for group in groups):
            raise InvalidValueError(
                "An optimizer of several groups must be saved with the names of its parameters, "
                "got none; make it from model.named_parameters()."
            )
        try:
            params = [
                {"params": [model.get_parameter(name) for name in group["param_names"]]}
                if "param_names" in group
                else {"params": list(model.parameters())}
                for group in groups
            ]
            optimizer = CLASSES[self.name](params)
            optimizer.load_state_dict(dict(self.state))
        except (AttributeError, ValueError) as error:
            raise InvalidValueError(
                f"The {self.name} in the checkpoint must fit the model, got: {error}"
            ) from error
        return optimizer
