"""Tiny random models that are saved in folders, settings that fine-tune them, and a short run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from compare_cases import run_of

from dualadam.tasks import FineTuning

SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}
WORDS = ("[UNK]", "</s>", *(f"w{k}" for k in range(SIZES["vocab_size"] - 2)))


def save_tiny_model(folder: Path, kind: str, words: Sequence[str] = WORDS, **config: Any) -> Path:
    """Save a random "LlamaForCausalLM" or "BertModel" of 32 positions, and its tokenizer.

    The tokenizer knows these words; the second one is the end of text.
    """
    import tokenizers
    import transformers

    plain = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: k for k, word in enumerate(words)}, unk_token=words[0])
    )
    plain.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    eos = None if kind == "BertModel" else words[1]
    transformers.PreTrainedTokenizerFast(tokenizer_object=plain, eos_token=eos).save_pretrained(
        folder
    )
    cls = getattr(transformers, kind)
    torch.manual_seed(0)
    cls(
        cls.config_class(
            **SIZES | {"vocab_size": len(words), "max_position_embeddings": 32} | config
        )
    ).save_pretrained(folder)
    return folder


def tuned(model: str | Path = "minilm-l6", **options: Any) -> FineTuning:
    """The settings that fine-tune a model, with these options."""
    return FineTuning(str(model), **options)


def quick_run(**changes: Any):
    """Return a run of a few steps: MiniLM's last layer on 64 texts of BBC News, with changes."""
    common = {
        "task": "bbc-news",
        "model": "minilm-l6",
        "metric": "accuracy",
        "language": tuned(max_length=16, parameters="last-1"),
        "steps": 4,
        "evaluations": 1,
    }
    return run_of(
        **(
            common
            | {"evaluate_at_most": 20, "batch_size": 8, "subset": 64, "optimizer": "DualAdam"}
            | changes
        )
    )
