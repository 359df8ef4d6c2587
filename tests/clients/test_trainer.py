"""DualAdam inside transformers' Trainer: resuming, clipping, supervised fine-tuning.

torch.optim.AdamW runs in the same place.
"""

from __future__ import annotations

from collections.abc import Callable
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
    tiny_bert,
    tiny_llama,
    trained,
)

from dualadam import DualAdam, diagnose
from dualadam.optim import fused_status

pytestmark = [pytest.mark.integration, *map(pytest.mark.filterwarnings, TOOL_WARNINGS)]
CLIP = 0.5


def causal_rows() -> list[dict[str, Any]]:
    return [{"input_ids": row, "labels": row} for row in sentences(48)]


def class_rows() -> list[dict[str, Any]]:
    return [{"input_ids": row, "labels": int(row[0]) % 3} for row in sentences(48)]


MODELS: dict[str, tuple[Callable[[], Any], Callable[[], list[dict[str, Any]]]]] = {
    "Llama": (tiny_llama, causal_rows),
    "BERT": (tiny_bert, class_rows),
}


def train(
    folder: Path,
    optimizer: tuple[Any, dict[str, Any]],
    model: str = "Llama",
    resume: Path | None = None,
    **more: Any,
) -> Any:
    """Run the Trainer for 12 updates of 2 x 4 sentences, and save after each.

    Dropout, decay in groups, a schedule and clipping are on.
    """
    from transformers import Trainer, TrainingArguments

    settings = {
        "max_steps": STEPS,
        "per_device_train_batch_size": 4,
        "gradient_accumulation_steps": 2,
        "save_steps": 1,
        "logging_steps": 1,
    }
    settings |= {"max_grad_norm": CLIP, "weight_decay": 0.1, "lr_scheduler_type": "cosine"}
    arguments = TrainingArguments(
        str(folder), use_cpu=True, disable_tqdm=True, report_to=[], **{**settings, **more}
    )
    make, rows = MODELS[model]
    trainer = Trainer(make(), arguments, train_dataset=rows(), optimizer_cls_and_kwargs=optimizer)
    trainer.train(resume_from_checkpoint=str(resume) if resume else None)
    return trainer


def bits(trainer: Any) -> list[torch.Tensor]:
    params = [p for group in trainer.optimizer.param_groups for p in group["params"]]
    return state_bits(params, trainer.optimizer)


@every_optimizer
@pytest.mark.parametrize("model", MODELS)
def test_a_run_resumed_before_at_and_after_the_hand_over_equals_the_straight_run_bit_for_bit(
    tmp_path: Path, name: str, model: str
):
    straight = train(tmp_path / "straight", OPTIMIZERS[name], model)
    norms = [row["grad_norm"] for row in straight.state.log_history if "grad_norm" in row]
    assert max(norms) > CLIP, "nothing was clipped"
    for step in (HAND_OVER - 3, HAND_OVER, HAND_OVER + 3):
        resumed = train(
            tmp_path / "resumed",
            OPTIMIZERS[name],
            model,
            resume=tmp_path / "straight" / f"checkpoint-{step}",
        )
        assert same_bits(bits(straight), bits(resumed)), step
        assert resumed.optimizer.param_groups[0]["lr"] == straight.optimizer.param_groups[0]["lr"]


def test_a_resumed_run_without_the_optimizers_state_would_be_seen(tmp_path: Path):
    straight = train(tmp_path / "straight", OPTIMIZERS["DualAdam"])
    checkpoint = tmp_path / "straight" / "checkpoint-3"
    saved = torch.load(checkpoint / "optimizer.pt", weights_only=True)
    for state in saved["state"].values():
        state["step"] -= 1
    torch.save(saved, checkpoint / "optimizer.pt")
    resumed = train(tmp_path / "resumed", OPTIMIZERS["DualAdam"], resume=checkpoint)
    assert not same_bits(trained(straight.model), trained(resumed.model))


@pytest.mark.parametrize("model", MODELS)
def test_with_a_switch_rate_of_1_the_trainer_makes_the_model_that_it_makes_with_adamw(
    tmp_path: Path, model: str
):
    adamw, dualadam = (train(tmp_path, twin, model) for twin in ADAMW_TWINS)
    assert same_bits(trained(adamw.model), trained(dualadam.model))


def test_a_checkpoint_of_adamw_is_continued_by_dualadam(tmp_path: Path):
    """Past the hand-over the count that AdamW has left makes every update AdamW's."""
    (adamw, settings), (_, ours) = ADAMW_TWINS
    straight = train(tmp_path / "adamw", (adamw, settings))
    continued = train(
        tmp_path / "dualadam",
        (DualAdam, {**ours, "switch_rate": 1 / 7}),
        resume=tmp_path / "adamw" / "checkpoint-7",
    )
    assert same_bits(trained(straight.model), trained(continued.model))


def test_the_diagnosis_and_the_status_look_inside_the_trainers_optimizer(tmp_path: Path):
    trainer = train(tmp_path, OPTIMIZERS["DualAdam fused"], max_steps=3, save_strategy="no")
    assert not isinstance(trainer.optimizer, DualAdam)  # accelerate's wrapper
    assert [row.mixing_weight for row in diagnose(trainer.optimizer)] == pytest.approx([0.5, 0.5])
    trainer.optimizer.optimizer.zero_grad(set_to_none=False)
    for group in trainer.optimizer.param_groups:
        for param in group["params"]:
            param.grad = torch.zeros_like(param)
    assert list(fused_status(trainer.optimizer).paths) == ["fused"]
    (adamw, settings), _ = ADAMW_TWINS
    with pytest.raises(
        TypeError, match="must be an InvAdam or a DualAdam, got AcceleratedOptimizer"
    ):
        diagnose(train(tmp_path, (adamw, settings), max_steps=1, save_strategy="no").optimizer)


@pytest.mark.parametrize("name", ["AdamW", "DualAdam"])
def test_the_learning_rate_is_the_one_given_with_the_class_and_the_decay_that_of_the_arguments(
    tmp_path: Path, name: str
):
    trainer = train(
        tmp_path,
        OPTIMIZERS[name],
        max_steps=1,
        save_strategy="no",
        learning_rate=0.5,
        weight_decay=0.2,
    )
    assert [
        (group["initial_lr"], group["weight_decay"]) for group in trainer.optimizer.param_groups
    ] == [(1e-2, 0.2), (1e-2, 0.0)]


@pytest.mark.parametrize("name", ["AdamW", "DualAdam"])
def test_under_bfloat16_autocast_a_resumed_run_equals_the_straight_one_too(
    tmp_path: Path, name: str
):
    straight = train(tmp_path / "straight", OPTIMIZERS[name], bf16=True)
    resumed = train(
        tmp_path / "resumed",
        OPTIMIZERS[name],
        resume=tmp_path / "straight" / f"checkpoint-{HAND_OVER - 2}",
        bf16=True,
    )
    assert same_bits(bits(straight), bits(resumed))


def supervised(folder: Path, optimizer: tuple[Any, dict[str, Any]], steps: int, **more: Any) -> Any:
    """Return a Trainer of three dialogues, in a chat template, with the loss on the responses."""
    from transformers import ByT5Tokenizer, DataCollatorForSeq2Seq, Trainer, TrainingArguments

    template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}<assistant>{% endif %}"
    )
    tokenizer = ByT5Tokenizer(chat_template=template)
    rows = []
    for prompt, response in [
        ("one plus one?", "two"),
        ("two plus two?", "four"),
        ("a colour?", "green"),
    ]:
        chat = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        start = tokenizer.apply_chat_template(
            chat[:1], add_generation_prompt=True, return_dict=True
        )["input_ids"]
        whole = tokenizer.apply_chat_template(chat, return_dict=True)["input_ids"]
        rows.append({"input_ids": whole, "labels": [-100] * len(start) + whole[len(start) :]})
    model = tiny_llama(vocab_size=len(tokenizer), attention_dropout=0.0, hidden_size=32)
    settings = {
        "max_steps": steps,
        "per_device_train_batch_size": 3,
        "max_grad_norm": CLIP,
        "save_strategy": "no",
        **more,
    }
    arguments = TrainingArguments(
        str(folder), use_cpu=True, disable_tqdm=True, report_to=[], **settings
    )
    collator = DataCollatorForSeq2Seq(tokenizer)
    return Trainer(
        model,
        arguments,
        train_dataset=rows,
        eval_dataset=rows,
        data_collator=collator,
        optimizer_cls_and_kwargs=optimizer,
    )


@pytest.mark.parametrize("name", ["AdamW", "DualAdam"])
def test_supervised_fine_tuning_learns_the_responses_and_its_loss_is_on_them_alone(
    tmp_path: Path, name: str
):
    trainer = supervised(tmp_path, OPTIMIZERS[name], steps=80)
    batch = trainer.data_collator([dict(row) for row in trainer.eval_dataset])
    logits = trainer.model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
    ).logits[:, :-1]
    of_response = batch["labels"][:, 1:] != -100
    tokenizer = trainer.data_collator.tokenizer
    assert [tokenizer.decode(row[row != -100]) for row in batch["labels"]] == [
        "two</s>",
        "four</s>",
        "green</s>",
    ]
    by_hand = torch.nn.functional.cross_entropy(
        logits[of_response], batch["input_ids"][:, 1:][of_response]
    )
    assert trainer.evaluate()["eval_loss"] == pytest.approx(
        by_hand.item(), rel=1e-5
    )  # float32 sums in another order
    trainer.train()
    assert trainer.evaluate()["eval_loss"] < 0.1 * by_hand


def test_supervised_fine_tuning_with_a_switch_rate_of_1_makes_the_model_that_it_makes_with_adamw(
    tmp_path: Path,
):
    adamw, dualadam = (supervised(tmp_path, twin, steps=STEPS) for twin in ADAMW_TWINS)
    for trainer in (adamw, dualadam):
        trainer.train()
    assert same_bits(trained(adamw.model), trained(dualadam.model))


@pytest.mark.parametrize("name", ["AdamW", "DualAdam"])
def test_supervised_fine_tuning_resumes_bit_for_bit(tmp_path: Path, name: str):
    saved = {"save_strategy": "steps", "save_steps": 1}
    straight = supervised(tmp_path / "straight", OPTIMIZERS[name], steps=STEPS, **saved)
    straight.train()
    for step in (HAND_OVER - 2, HAND_OVER + 2):
        resumed = supervised(tmp_path / "resumed", OPTIMIZERS[name], steps=STEPS, **saved)
        resumed.train(resume_from_checkpoint=str(tmp_path / "straight" / f"checkpoint-{step}"))
        assert same_bits(bits(straight), bits(resumed))
