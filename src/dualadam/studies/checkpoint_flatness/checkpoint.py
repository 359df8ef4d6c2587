"""A saved model and the names of its task and architecture."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from dualadam.errors import InvalidValueError, MissingFileError
from dualadam.harness.store import reading
from dualadam.studies.checkpoint_flatness.optimizer import SavedOptimizer
from dualadam.tasks import TASKS, FineTuning, Task


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a model and what they belong to.

    Attributes:
        path: the file.
        task, model: names as in ``dualadam list``.
        weights: the state_dict.
        language: how a language model was trained; None for images.
        optimizer: what trained the model, if the file says so.
    """

    path: Path
    task: str
    model: str
    weights: dict[str, Tensor]
    language: FineTuning | None
    optimizer: SavedOptimizer | None = None

    def make_model(self, task: Task) -> nn.Module:
        """Return the model with these weights, on the task's device.

        Raises:
            InvalidValueError: the weights do not fit the model.
        """
        model = task.make_model(self.model)
        try:
            model.load_state_dict(self.weights)
        except RuntimeError as error:
            first_reason = str(error).splitlines()[1].strip()  # torch lists every key
            raise InvalidValueError(
                f"{self.path} must fit the model {self.model!r} of {self.task!r}, "
                f"got: {first_reason}"
            ) from error
        return model

    def make_optimizer(self, model: nn.Module) -> Optimizer | None:
        """Return the optimizer of the model, or None if the file has none.

        Raises:
            InvalidValueError: its state does not fit the model.
        """
        return None if self.optimizer is None else self.optimizer.make(model)


def load_checkpoint(path: Path, task: str | None = None, model: str | None = None) -> Checkpoint:
    """Read a file saved by torch.save. Code in it is not executed.

    The file holds a state_dict, or a dict with ``state_dict`` and optionally ``task``, ``model``
    and ``language`` (as in a spec), and ``optimizer`` (the name of the class) with
    ``optimizer_state_dict``.

    Args:
        path: the file.
        task, model: the names, if the file lacks them.

    Raises:
        MissingFileError: there is no such file.
        InvalidValueError: the file holds something else, contradicts an argument, or a name is
            missing or unknown.
    """
    content = _load(path)
    weights = content.get("state_dict", content)
    if not _is_state_dict(weights):
        keys = ", ".join(map(str, content)) or "none"
        raise InvalidValueError(
            f"{path} must hold a state_dict, or a dict with the key 'state_dict', "
            f"got the keys: {keys}."
        )
    named = content if weights is not content else {}
    task = _name("task", named, task)
    model = _name("model", named, model)
    if task not in TASKS:
        raise InvalidValueError(f"--task must be one of {', '.join(TASKS)}, got {task!r}.")
    entry = TASKS[task]
    if not entry.takes(model):
        raise InvalidValueError(
            f"--model must be one of {', '.join(entry.models)} for {task}, got {model!r}."
        )
    language = None
    if entry.language is not None:
        language = _fine_tuning(path, model, named.get("language") or {})
    return Checkpoint(path, task, model, weights, language, SavedOptimizer.of(named))


def _load(path: Path) -> dict[Any, Any]:
    with reading(path):
        if not path.is_file():
            raise MissingFileError(
                f"{path} must be a file saved by torch.save; there is no such file."
            )
        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
            raise InvalidValueError(
                f"{path} must hold tensors and plain values saved by torch.save, and nothing else; "
                "it does not load."
            ) from error
    if not isinstance(content, dict):
        raise InvalidValueError(
            f"{path} must hold a state_dict, or a dict with the key 'state_dict', "
            f"got {type(content).__name__}."
        )
    return content


def _is_state_dict(weights: object) -> bool:
    if not isinstance(weights, dict) or not weights:
        return False
    return all(isinstance(value, Tensor) for value in weights.values())


def _name(key: str, content: Mapping[str, Any], given: str | None) -> str:
    saved = content.get(key)
    if saved and given and saved != given:
        raise InvalidValueError(
            f"--{key} must be {saved!r}, as the checkpoint says, got {given!r}."
        )
    name = saved or given
    if not name:
        raise InvalidValueError(f"--{key} must be given: the checkpoint does not name its {key}.")
    return str(name)


def _fine_tuning(path: Path, model: str, settings: Any) -> FineTuning:
    try:
        return FineTuning(**{"model": model, **settings})
    except TypeError as error:
        raise InvalidValueError(
            f"{path} must hold under 'language' what a spec has there, got {settings!r}."
        ) from error
