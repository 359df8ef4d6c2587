"""DualAdam on adapters of peft (LoRA, LoRA+), with torch.optim.AdamW in the same place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cases import state_bits
from tool_cases import (
    ADAMW_TWINS,
    OPTIMIZERS,
    STEPS,
    TOOL_WARNINGS,
    every_optimizer,
    same_bits,
    sentences,
    tiny_llama,
    trained,
)

from dualadam import DualAdam, decay_groups, diagnose

pytestmark = [pytest.mark.integration, *map(pytest.mark.filterwarnings, TOOL_WARNINGS)]
RATIO = 8


def with_adapters(dtype: torch.dtype = torch.float32) -> Any:
    from peft import LoraConfig, get_peft_model

    base = tiny_llama().to(dtype)
    torch.manual_seed(1)
    return get_peft_model(
        base, LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", lora_dropout=0.1)
    )


def loraplus(model: Any, optimizer: tuple[Any, dict[str, Any]]) -> Any:
    from peft.optimizers import create_loraplus_optimizer

    kind, settings = optimizer
    return create_loraplus_optimizer(
        model, kind, loraplus_lr_ratio=RATIO, loraplus_weight_decay=0.1, **settings
    )


def train(
    model: Any, optimizer: Any, first: int = 0, steps: int = STEPS, clip: float = 0.1
) -> list[float]:
    """Train with dropout and clipping, the batch and the noise given by the step."""
    norms = []
    model.train()
    for step in range(first, steps):
        torch.manual_seed(step)
        batch = sentences()[4 * (step % 6) :][:4]
        optimizer.zero_grad()
        model(input_ids=batch, labels=batch).loss.backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), clip)))
        optimizer.step()
    assert max(norms) > clip, "nothing was clipped"
    return norms


@every_optimizer
def test_the_adapters_train_and_have_a_state_and_the_base_has_neither(name: str):
    model = with_adapters()
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    optimizer = loraplus(model, OPTIMIZERS[name])
    train(model, optimizer)
    adapters = {n for n in before if "lora_" in n}
    assert {n for n, p in model.named_parameters() if not torch.equal(p, before[n])} == adapters
    assert {n for n, p in model.named_parameters() if optimizer.state.get(p)} == adapters


@every_optimizer
def test_loraplus_gives_the_b_matrices_their_own_rate_and_every_other_setting_reaches_all_groups(
    name: str,
):
    model = with_adapters()
    kind, settings = OPTIMIZERS[name]
    groups = loraplus(model, (kind, settings)).param_groups
    matrices = {n.split("lora_")[1][0]: p for n, p in model.named_parameters() if "lora_" in n}
    rates = {
        letter: group["lr"]
        for group in groups
        for letter, p in matrices.items()
        if any(p is q for q in group["params"])
    }
    assert rates == {"A": 1e-2, "B": RATIO * 1e-2}
    assert all(
        group[key] == value for group in groups for key, value in settings.items() if key != "lr"
    )


def test_with_a_switch_rate_of_1_loraplus_makes_the_adapters_that_it_makes_with_adamw():
    made = []
    for twin in ADAMW_TWINS:
        model = with_adapters()
        train(model, loraplus(model, twin))
        made.append(trained(model))
    assert same_bits(*made)


@every_optimizer
@pytest.mark.parametrize("stop", [3, 6, 9])
def test_saved_adapters_and_state_resume_bit_for_bit(tmp_path: Path, name: str, stop: int):
    from peft import PeftModel

    straight = with_adapters()
    train(straight, straight_optimizer := loraplus(straight, OPTIMIZERS[name]))
    stopped = with_adapters()
    train(stopped, optimizer := loraplus(stopped, OPTIMIZERS[name]), steps=stop)
    stopped.save_pretrained(tmp_path)
    torch.save(optimizer.state_dict(), tmp_path / "optimizer.pt")

    resumed = PeftModel.from_pretrained(tiny_llama(), tmp_path, is_trainable=True)
    optimizer = loraplus(resumed, OPTIMIZERS[name])
    optimizer.load_state_dict(torch.load(tmp_path / "optimizer.pt", weights_only=True))
    train(resumed, optimizer, first=stop)
    params = [
        [p for g in o.param_groups for p in g["params"]] for o in (straight_optimizer, optimizer)
    ]
    assert same_bits(state_bits(params[0], straight_optimizer), state_bits(params[1], optimizer))


def test_groups_without_parameters_neither_warn_nor_stop_a_step_or_a_diagnosis():
    """LoRA+ makes a group for embeddings even if it is empty; adapters are always float32."""
    model = with_adapters(torch.bfloat16)
    assert {p.dtype for p in model.parameters() if p.requires_grad} == {torch.float32}
    settings = {
        **OPTIMIZERS["DualAdam"][1],
        "state_dtype": torch.bfloat16,
        "stochastic_rounding": True,
    }
    for foreach in (False, True):
        optimizer = loraplus(model, (DualAdam, {**settings, "foreach": foreach}))
        assert any(not group["params"] for group in optimizer.param_groups)
        train(model, optimizer, steps=2)
        assert [row.num_coordinates > 0 for row in diagnose(optimizer)] == [
            bool(group["params"]) for group in optimizer.param_groups
        ]


def test_decay_groups_leave_the_frozen_base_out():
    groups = decay_groups(with_adapters(), 0.1)
    assert all("lora_" in name for group in groups for name in group["names"])
    assert len(groups[0]["names"]) == 28  # A and B of 7 linear maps in 2 layers


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_trainable_parameter_costs_as_much_as_with_adamw_and_a_frozen_one_only_itself(
    dtype: torch.dtype,
):
    counted = []
    for name in ("DualAdam fused", "AdamW fused"):
        model = with_adapters(dtype)
        train(model, optimizer := loraplus(model, OPTIMIZERS[name]), steps=2)
        params = [p for p in model.parameters() if p.requires_grad]
        state = sum(
            value.untyped_storage().nbytes()
            for values in optimizer.state.values()
            for value in values.values()
        )
        assert state == 8 * sum(p.numel() for p in params) + 4 * len(params)
        assert all(p.grad is None for p in model.parameters() if not p.requires_grad)
        counted.append((state, sum(p.untyped_storage().nbytes() for p in model.parameters())))
    assert counted[0] == counted[1]
