"""LoRA with peft, with the two learning rates of LoRA+.

    python examples/lora.py [--model FOLDER_OR_NAME] [--data FILE.txt]

Without arguments a small new model, most of it frozen, learns the description of scikit-learn's
wine data.
"""

import argparse
import tempfile
from pathlib import Path

from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from sklearn.datasets import load_wine
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    ByT5Tokenizer,
    DataCollatorForLanguageModeling,
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainingArguments,
    set_seed,
)

from dualadam import DualAdam, switch_rate_for

parser = argparse.ArgumentParser()
parser.add_argument("--model")
parser.add_argument("--data", type=Path)
parser.add_argument("--steps", type=int, default=100)
options = parser.parse_args()
set_seed(0)

text = options.data.read_text() if options.data else load_wine().DESCR
if options.model:
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token  # GPT-2 and Llama have none
    base = AutoModelForCausalLM.from_pretrained(options.model)
else:
    tokenizer = ByT5Tokenizer()  # a token is a byte
    sizes = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
    }
    base = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **sizes)
    )
ids = tokenizer(text, add_special_tokens=False)["input_ids"]
blocks = [{"input_ids": ids[i : i + 64]} for i in range(0, len(ids) - 63, 64)]

model = get_peft_model(
    base, LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
)
model.print_trainable_parameters()
rates = {"lr": 2e-4 if options.model else 5e-3, "loraplus_lr_ratio": 8}
switch_rate = switch_rate_for(options.steps)
# was: optimizer = create_loraplus_optimizer(model, torch.optim.AdamW, **rates)
optimizer = create_loraplus_optimizer(model, DualAdam, **rates, switch_rate=switch_rate)
with tempfile.TemporaryDirectory() as folder:
    trainer = Trainer(
        model,
        TrainingArguments(
            folder,
            max_steps=options.steps,
            per_device_train_batch_size=4,
            warmup_steps=0,
            report_to=[],
        ),
        train_dataset=blocks[:-4],
        eval_dataset=blocks[-4:],
        data_collator=DataCollatorForLanguageModeling(tokenizer, mlm=False),
        optimizers=(optimizer, None),  # None: the Trainer makes the schedule
    )
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    after = trainer.evaluate()["eval_loss"]
states = [state for state in optimizer.state.values() if state]
num_params = sum(state["exp_avg"].numel() for state in states)
print(f"state of {num_params:,} parameters in {len(states)} tensors")
print(f"held-out loss {before:.3f} before, {after:.3f} after {options.steps} steps")
assert after < before, (before, after)
