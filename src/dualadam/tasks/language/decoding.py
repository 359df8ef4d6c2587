"""Answers, decoded greedily."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from dualadam.tasks.language.pretrained import context_length, load_tokenizer
from dualadam.tasks.protocol import FineTuning


def decode_answers(
    model: nn.Module, prompts: Tensor, mask: Tensor, *, language: FineTuning
) -> list[str]:
    """Return the answer to each prompt as text.

    A prompt that nearly fills the model's context gets a shorter answer. It is decoded apart, so
    that no answer depends on the other prompts of the batch.

    Args:
        model: a causal language model.
        prompts: (B, L), padded on the left.
        mask: (B, L), 0 for padding.
        language: the model's name, and the maximum length of an answer.
    """
    tokenizer, _ = load_tokenizer(language.model)
    lengths = mask.sum(1).cpu()
    room = (context_length(language.model) - lengths).clamp(1, language.max_new_tokens)
    answers = [""] * len(prompts)
    for max_new_tokens in room.unique().tolist():
        rows = (room == max_new_tokens).nonzero()[:, 0].tolist()
        width = int(lengths[rows].max())
        found = decode_greedily(
            model,
            prompts[rows, -width:],
            mask[rows, -width:],
            max_new_tokens,
            tokenizer.eos_token_id,
        )
        texts = tokenizer.batch_decode(found, skip_special_tokens=True)
        for row, text in zip(rows, texts, strict=True):
            answers[row] = text
    return answers


@torch.no_grad()
def decode_greedily(
    model: Any, prompts: Tensor, mask: Tensor, max_new_tokens: int, end: int
) -> Tensor:
    """Return the most probable next tokens, one after another.

    Returns:
        (B, at most max_new_tokens); a row is padded with ``end`` after its ``end``.
    """
    from transformers import GenerationConfig

    config = GenerationConfig(
        max_new_tokens=max_new_tokens, do_sample=False, eos_token_id=end, pad_token_id=end
    )
    answers = model.generate(input_ids=prompts, attention_mask=mask, generation_config=config)
    return answers[:, prompts.shape[1] :]
