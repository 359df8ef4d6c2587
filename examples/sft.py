"""Supervised fine-tuning of a chat model with transformers' Trainer.

    python examples/sft.py [--model FOLDER_OR_NAME] [--data FILE.jsonl]

A line of the file has a "prompt" and a "response". The loss covers only the response, in the
model's own chat template. Without arguments a small new model memorises the answers below.
"""

import argparse
import json
import tempfile
from pathlib import Path

from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    ByT5Tokenizer,
    DataCollatorForSeq2Seq,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainingArguments,
    set_seed,
)

from dualadam import DualAdam, switch_rate_for

CAPITALS = {
    "Chad": "N'Djamena",
    "Fiji": "Suva",
    "Laos": "Vientiane",
    "Mali": "Bamako",
    "Oman": "Muscat",
    "Peru": "Lima",
    "Togo": "Lomé",
}
TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}"
    "{% if add_generation_prompt %}<assistant>{% endif %}"
)

parser = argparse.ArgumentParser()
parser.add_argument("--model")
parser.add_argument("--data", type=Path)
parser.add_argument("--steps", type=int, default=150)
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
        {"prompt": f"Capital of {country}?", "response": city} for country, city in CAPITALS.items()
    ]
if options.model:
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # GPT-2 and Llama have none
    model = AutoModelForCausalLM.from_pretrained(options.model)
else:
    tokenizer = ByT5Tokenizer(chat_template=TEMPLATE)  # a token is a byte
    sizes = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
    }
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **sizes)
    )


def tokens(chat: list[dict[str, str]], **options: bool) -> list[int]:
    return tokenizer.apply_chat_template(chat, return_dict=True, **options)["input_ids"]


def encode(prompt: str, response: str, max_length: int = 512) -> dict[str, list[int]]:
    chat = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
    start, whole = tokens(chat[:1], add_generation_prompt=True), tokens(chat)
    assert whole[: len(start)] == start, "the template changes the prompt if a response follows"
    labels = [-100] * len(start) + whole[len(start) :]
    return {"input_ids": whole[:max_length], "labels": labels[:max_length]}


encoded = [encode(row["prompt"], row["response"]) for row in rows]
# a long prompt leaves no room for a response to learn
encoded = [row for row in encoded if any(label != -100 for label in row["labels"])]
with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        folder, max_steps=options.steps, per_device_train_batch_size=4, warmup_steps=0, report_to=[]
    )
    lr = 1e-4 if options.model else 5e-3
    switch_rate = switch_rate_for(options.steps)
    trainer = Trainer(
        model,
        arguments,
        train_dataset=encoded,
        eval_dataset=encoded[:64],
        data_collator=DataCollatorForSeq2Seq(tokenizer),
        # was: optimizer_cls_and_kwargs=(torch.optim.AdamW, {"lr": lr}),
        optimizer_cls_and_kwargs=(DualAdam, {"lr": lr, "switch_rate": switch_rate}),
    )
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    after = trainer.evaluate()["eval_loss"]
question = rows[0]["prompt"]
prompt = tokenizer.apply_chat_template(
    [{"role": "user", "content": question}],
    add_generation_prompt=True,
    return_dict=True,
    return_tensors="pt",
).to(model.device)
answer = model.generate(
    **prompt, max_new_tokens=40, do_sample=False, pad_token_id=tokenizer.pad_token_id
)
new = answer[0, prompt["input_ids"].shape[1] :]
print(question, "->", tokenizer.decode(new, skip_special_tokens=True))
print("loss of the response on training data:")
print(f"{before:.3f} before, {after:.3f} after {options.steps} steps")
assert after < before, (before, after)
