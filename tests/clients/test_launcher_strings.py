"""The arguments of DualAdam as launchers that are not installed here hand them over.

Each function imitates how one tool makes an optimizer from a name and from strings; the versions
whose source was read are in docs/launchers.md.
"""

from __future__ import annotations

import argparse
import ast
import importlib
from typing import Any

import pytest
import torch

from dualadam import DualAdam, switch_rate_for


def weights() -> list[torch.Tensor]:
    return [torch.ones(3, requires_grad=True)]


def class_named(path: str) -> Any:
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def kohya(optimizer_type: str, optimizer_args: list[str], lr: float) -> Any:
    """``--optimizer_type`` is a dotted name, ``--optimizer_args`` are literals of Python."""
    settings = {}
    for argument in optimizer_args:
        key, value = argument.split("=")
        settings[key] = ast.literal_eval(value)
    return class_named(optimizer_type)(weights(), lr=lr, **settings)


def verl(config: dict[str, Any]) -> Any:
    """The override is merged into lr, weight_decay and the betas of a class with adam in it."""
    settings = {"lr": config["lr"], "weight_decay": config["weight_decay"]}
    if "adam" in config["optimizer"].lower():
        settings["betas"] = config["betas"]
    settings |= config["override_optimizer_config"]
    made = getattr(importlib.import_module(config["optimizer_impl"]), config["optimizer"])
    return made(weights(), **settings)


def timm(import_string: str, opt_kwargs: list[str], **settings: Any) -> Any:
    """``--opt-kwargs`` are literals where they can be, and strings elsewhere."""
    for argument in opt_kwargs:
        key, value = argument.split("=")
        try:
            settings[key] = ast.literal_eval(value)
        except ValueError:
            settings[key] = value
    return class_named(import_string)(weights(), **settings)


def ms_swift(optim_args: str, lr: float) -> Any:
    """The user's function gets ``--optim_args`` as one string."""
    pairs = dict(pair.split("=") for pair in optim_args.replace(" ", "").split(","))
    return DualAdam(weights(), lr=lr, **{k: ast.literal_eval(v) for k, v in pairs.items()})


def torchtitan(implementation: str) -> Any:
    """A container of ours resolves the name; fused and foreach are always passed."""
    flags = {"fused": implementation == "fused", "foreach": implementation == "foreach"}
    settings = {"lr": 1e-3, "betas": (0.9, 0.95), "eps": 1e-8, "weight_decay": 0.1}
    return DualAdam(
        [{"params": weights(), **settings, **flags, "switch_rate": 0.01}], **settings, **flags
    )


def axolotl(cfg: dict[str, Any]) -> Any:
    """The plugin's create_optimizer reads the YAML file, in which 1e-3 is a string."""
    return DualAdam(
        weights(),
        lr=float(cfg["learning_rate"]),
        switch_rate=switch_rate_for(cfg["max_steps"]),
    )


VERL = {"optimizer_impl": "dualadam", "optimizer": "DualAdam", "lr": 1e-6, "weight_decay": 0.01}
MADE = {
    "kohya": lambda: kohya(
        "dualadam.DualAdam",
        [
            "switch_rate=0.001",
            "betas=(0.9, 0.99)",
            "weight_decay=0.01",
            "state_dtype='bfloat16'",
            "stochastic_rounding=True",
            "fused=True",
        ],
        lr=1e-4,
    ),
    "verl": lambda: verl(
        {**VERL, "betas": [0.9, 0.999], "override_optimizer_config": {"switch_rate": 0.001}}
    ),
    "timm": lambda: timm(
        "dualadam.DualAdam",
        ["switch_rate=0.001", "state_dtype=bfloat16", "stochastic_rounding=True"],
        lr=1e-3,
        weight_decay=0.05,
        eps=1e-8,
    ),
    "ms-swift": lambda: ms_swift("switch_rate=0.001, state_dtype='bfloat16'", lr=1e-4),
    "torchtitan": lambda: torchtitan("fused"),
    "torchtitan, foreach": lambda: torchtitan("foreach"),
    "axolotl": lambda: axolotl({"learning_rate": "1e-3", "max_steps": 6250}),
}


@pytest.mark.parametrize("tool", MADE)
def test_the_line_of_a_launcher_makes_a_dualadam_that_steps(tool: str):
    optimizer = MADE[tool]()
    assert type(optimizer) is DualAdam
    (group,) = optimizer.param_groups
    assert group["switch_rate"] == (0.01 if "titan" in tool else 0.001)
    (weight,) = group["params"]
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    rounded = tool in ("kohya", "timm", "ms-swift")
    assert optimizer.state[weight]["exp_avg"].dtype == (
        torch.bfloat16 if rounded else torch.float32
    )
    assert not torch.equal(weight, torch.ones(3))


def test_a_name_without_quotes_is_no_literal_of_python():
    """Hence the quotes around bfloat16 in the line for trainers of the kohya family."""
    with pytest.raises(ValueError, match="malformed node"):
        kohya("dualadam.DualAdam", ["state_dtype=bfloat16"], lr=1e-4)


@pytest.mark.parametrize("name", ["lr", "switch_rate", "weight_decay", "eps"])
def test_a_number_that_arrives_as_a_string_is_refused_with_its_name_and_value(name: str):
    parser = argparse.ArgumentParser()
    parser.add_argument("--value")  # without type=float
    value = parser.parse_args(["--value", "1e-3"]).value
    with pytest.raises(TypeError, match=rf"{name} must be a number.*, got str '1e-3'"):
        DualAdam(weights(), **{name: value})
