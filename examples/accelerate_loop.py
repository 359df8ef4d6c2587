"""Train with accelerate: accumulation, clipping, a schedule, checkpoints that resume bit for bit.

    python examples/accelerate_loop.py [--model FOLDER_OR_NAME] [--data FILE.txt]

Without arguments a small new model learns the description of scikit-learn's wine data.
"""

import argparse
import tempfile
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import set_seed
from sklearn.datasets import load_wine
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    ByT5Tokenizer,
    LlamaConfig,
    LlamaForCausalLM,
)

from dualadam import DualAdam, decay_groups, diagnose, switch_rate_for

parser = argparse.ArgumentParser()
parser.add_argument("--model")
parser.add_argument("--data", type=Path)
parser.add_argument("--epochs", type=int, default=10)
options = parser.parse_args()
set_seed(0)

text = options.data.read_text() if options.data else load_wine().DESCR
if options.model:
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    model = AutoModelForCausalLM.from_pretrained(options.model)
else:
    tokenizer = ByT5Tokenizer()  # a token is a byte
    sizes = {
        "hidden_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 128,
    }
    model = LlamaForCausalLM(
        LlamaConfig(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **sizes)
    )
ids = torch.tensor(tokenizer(text, add_special_tokens=False)["input_ids"])
blocks = ids[: len(ids) // 64 * 64].view(-1, 64)

accelerator = Accelerator(gradient_accumulation_steps=2)
loader = torch.utils.data.DataLoader(blocks, batch_size=2, shuffle=True)
steps = options.epochs * -(-len(loader) // 2)
groups, lr = decay_groups(model, weight_decay=0.01), 1e-4 if options.model else 5e-3
# was: optimizer = torch.optim.AdamW(groups, lr=lr)
optimizer = DualAdam(groups, lr=lr, switch_rate=switch_rate_for(steps))
scheduler = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.1, steps)
model, optimizer, loader, scheduler = accelerator.prepare(model, optimizer, loader, scheduler)


def train(first_epoch: int, folder: str) -> float:
    """Train from this epoch on, save the state half-way, and return the last epoch's mean loss."""
    for epoch in range(first_epoch, options.epochs):
        if epoch == options.epochs // 2:
            accelerator.save_state(folder)
        losses = []
        for batch in loader:
            # This divides the loss, so that gradients are means. It matters: the inverse part grows
            # with the square of the gradient.
            with accelerator.accumulate(model):
                loss = model(input_ids=batch, labels=batch).loss
                accelerator.backward(loss)
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                scheduler.step()
                optimizer.zero_grad()
            losses.append(loss.item())
        print(f"epoch {epoch}: loss {sum(losses) / len(losses):.3f}")
    return sum(losses) / len(losses)


with tempfile.TemporaryDirectory() as folder:
    straight = train(0, folder)
    print(diagnose(optimizer))  # diagnose unwraps accelerate's optimizer
    accelerator.load_state(folder)
    resumed = train(options.epochs // 2, folder)
assert resumed == straight, (resumed, straight)
