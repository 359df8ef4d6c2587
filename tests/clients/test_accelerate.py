"""DualAdam in a loop of accelerate: accumulation, clipping, checkpoints, loss scaling.

torch.optim.AdamW runs in the same place.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from cases import state_bits
from tool_cases import (
    ADAMW_TWINS,
    HAND_OVER,
    OPTIMIZERS,
    STEPS,
    TOOL_WARNINGS,
    every_optimizer,
    same_bits,
    sentences,
    tiny_llama,
    trained,
)
from torch.optim.lr_scheduler import LinearLR
from torch.utils.data import DataLoader

from dualadam import decay_groups

pytestmark = [pytest.mark.integration, *map(pytest.mark.filterwarnings, TOOL_WARNINGS)]
CLIP, ACCUMULATED = 0.5, 2


class Loop:
    """12 updates, each of 2 batches, in 4 epochs."""

    def __init__(self, optimizer: tuple[Any, dict[str, Any]], precision: str = "no") -> None:
        from accelerate import Accelerator
        from accelerate.state import AcceleratorState
        from accelerate.utils import set_seed

        AcceleratorState._reset_state(reset_partial_state=True)  # as in a new process
        self.accelerator = Accelerator(
            cpu=True, gradient_accumulation_steps=ACCUMULATED, mixed_precision=precision
        )
        set_seed(0)
        kind, settings = optimizer
        model = tiny_llama()
        inner = kind(decay_groups(model, 0.1), **settings)
        loader = DataLoader(sentences(), batch_size=4, shuffle=True)
        self.model, self.optimizer, self.loader, self.scheduler = self.accelerator.prepare(
            model, inner, loader, LinearLR(inner, 1, 0.1, STEPS)
        )
        self.norms: list[float] = []

    def run(self, first: int = 0, save_at: dict[int, Path] | None = None) -> Loop:
        """Train from the update ``first`` on, and save before the updates in save_at."""
        per_epoch = len(self.loader)
        batch_number = first * ACCUMULATED
        while batch_number < STEPS * ACCUMULATED:
            epoch, done = divmod(batch_number, per_epoch)
            torch.manual_seed(epoch)  # the order of the epoch
            for batch in self.accelerator.skip_first_batches(self.loader, done):
                if (
                    save_at
                    and batch_number % ACCUMULATED == 0
                    and batch_number // ACCUMULATED in save_at
                ):
                    self.accelerator.save_state(str(save_at[batch_number // ACCUMULATED]))
                torch.manual_seed(1000 + batch_number)  # its dropout
                batch_number += 1
                with self.accelerator.accumulate(self.model):
                    loss = self.model(input_ids=batch, labels=batch).loss
                    self.accelerator.backward(loss)
                    if self.accelerator.sync_gradients:
                        self.norms.append(
                            float(self.accelerator.clip_grad_norm_(self.model.parameters(), CLIP))
                        )
                    self.optimizer.step()
                    self.scheduler.step()
                    self.optimizer.zero_grad()
        return self

    def bits(self) -> list[torch.Tensor]:
        return state_bits(
            [p for group in self.optimizer.param_groups for p in group["params"]], self.optimizer
        )


@every_optimizer
@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_a_loaded_state_continues_bit_for_bit_before_at_and_after_the_hand_over(
    tmp_path: Path, name: str, precision: str
):
    places = {
        update: tmp_path / str(update) for update in (HAND_OVER - 2, HAND_OVER, HAND_OVER + 2)
    }
    straight = Loop(OPTIMIZERS[name], precision).run(save_at=places)
    assert len(straight.norms) == STEPS
    assert max(straight.norms) > CLIP, "nothing was clipped"
    for update, folder in places.items():
        resumed = Loop(OPTIMIZERS[name], precision)
        resumed.accelerator.load_state(str(folder))
        assert next(iter(resumed.optimizer.state.values()))["step"] == update
        resumed.run(first=update)
        assert same_bits(straight.bits(), resumed.bits())
        assert straight.scheduler.get_last_lr() == resumed.scheduler.get_last_lr()


def test_with_a_switch_rate_of_1_the_loop_makes_the_model_that_it_makes_with_adamw():
    adamw, dualadam = (Loop(twin).run() for twin in ADAMW_TWINS)
    assert same_bits(trained(adamw.model), trained(dualadam.model))


@every_optimizer
def test_accumulated_batches_count_as_one_update(name: str):
    loop = Loop(OPTIMIZERS[name]).run()
    assert {float(state["step"]) for state in loop.optimizer.state.values()} == {STEPS}


@every_optimizer
def test_a_scaled_loss_gives_the_unscaled_updates_and_an_infinite_one_changes_nothing(name: str):
    from accelerate import Accelerator
    from accelerate.optimizer import AcceleratedOptimizer

    kind, settings = OPTIMIZERS[name]
    Accelerator(cpu=True)
    weights = [torch.linspace(-1, 1, 6).requires_grad_() for _ in range(2)]
    plain, inner = (kind([weight], **settings) for weight in weights)
    scaled = AcceleratedOptimizer(inner, scaler=torch.amp.GradScaler("cpu", init_scale=1024.0))
    skipped, told = [], []
    for step in range(STEPS):
        for weight, optimizer in zip(weights, (plain, scaled), strict=True):
            loss = ((weight - step) ** 2).sum()
            optimizer.zero_grad()
            if optimizer is plain and step != 4:
                loss.backward()
                optimizer.step()
            elif optimizer is scaled:
                before = weight.detach().clone()
                scaled.scaler.scale(loss * (torch.inf if step == 4 else 1)).backward()
                optimizer.step()
                told += [step] * scaled.step_was_skipped
                if torch.equal(before, weight):
                    skipped.append(step)
    assert skipped == [4]
    assert told == (
        [] if settings.get("fused") else [4]
    )  # a fused step is called and skips inside, torch's too
    assert inner.state[weights[1]]["step"] == STEPS - 1
    assert torch.equal(*weights)  # a power of two scales without rounding
