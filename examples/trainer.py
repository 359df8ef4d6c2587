"""Fine-tune an encoder with transformers' Trainer.

    python examples/trainer.py [--model FOLDER_OR_NAME] [--data FILE.jsonl]

A line of the file has a "text" and a "label". Without arguments a small new model learns the words
below.
"""

import argparse
import json
import tempfile
from pathlib import Path

from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
    Trainer,
    TrainingArguments,
    set_seed,
)

from dualadam import DualAdam, diagnose, switch_rate_for

THINGS = ("room", "soup", "film", "concert", "service", "book", "journey", "view")
WORDS = {
    "liked": ("lovely", "superb", "delightful", "charming"),
    "disliked": ("awful", "dreadful", "boring", "terrible"),
}

parser = argparse.ArgumentParser()
parser.add_argument("--model")
parser.add_argument("--data", type=Path)
parser.add_argument("--steps", type=int, default=60)
options = parser.parse_args()
set_seed(0)

if options.data:
    rows = [
        json.loads(line)
        for line in options.data.read_text(encoding="utf-8-sig").split("\n")
        if line.strip()
    ]
else:
    rows = [
        {"text": f"The {thing} was {word}.", "label": label}
        for label, words in WORDS.items()
        for word in words
        for thing in THINGS
    ]
labels = sorted({row["label"] for row in rows})
if options.model:
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # GPT-2 and Llama have none
    model = AutoModelForSequenceClassification.from_pretrained(
        options.model, num_labels=len(labels), pad_token_id=tokenizer.pad_token_id
    )
else:
    words = Tokenizer(models.WordLevel(unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    words.train_from_iterator(
        [row["text"] for row in rows], trainers.WordLevelTrainer(special_tokens=["[PAD]", "[UNK]"])
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="[PAD]", unk_token="[UNK]"
    )
    sizes = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
    }
    model = BertForSequenceClassification(
        BertConfig(vocab_size=len(tokenizer), num_labels=len(labels), **sizes)
    )
encoded = [
    {
        **tokenizer(row["text"], truncation=True, max_length=128),
        "labels": labels.index(row["label"]),
    }
    for row in rows
]

# The folder holds the checkpoints. train(resume_from_checkpoint=True) resumes bit for bit.
with tempfile.TemporaryDirectory() as folder:
    lr = 1e-4 if options.model else 1e-3
    switch_rate = switch_rate_for(options.steps)
    arguments = TrainingArguments(
        folder, max_steps=options.steps, weight_decay=0.01, warmup_steps=0, report_to=[]
    )
    trainer = Trainer(
        model,
        arguments,
        train_dataset=[row for i, row in enumerate(encoded) if i % 5],
        eval_dataset=encoded[::5],
        data_collator=DataCollatorWithPadding(tokenizer),
        compute_metrics=lambda p: {
            "accuracy": float((p.predictions.argmax(-1) == p.label_ids).mean())
        },
        # was: optimizer_cls_and_kwargs=(torch.optim.AdamW, {"lr": lr}),
        optimizer_cls_and_kwargs=(DualAdam, {"lr": lr, "switch_rate": switch_rate}),
    )
    trainer.train()
    accuracy = trainer.evaluate()["eval_accuracy"]
print(diagnose(trainer.optimizer))  # diagnose unwraps the Trainer's optimizer
print(f"held-out accuracy {accuracy:.3f}, {len(labels)} classes")
assert options.data or accuracy > 0.9, accuracy
