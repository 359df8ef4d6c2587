"""Train a small network with DualAdam instead of AdamW, and diagnose the inverse part."""

import torch
from sklearn.datasets import load_digits
from torch import nn

from dualadam import DualAdam, decay_groups, diagnose, switch_rate_for

torch.manual_seed(0)
data = load_digits()
images = torch.tensor(data.images, dtype=torch.float32).flatten(1) / 16
labels = torch.tensor(data.target)
train_x, train_y, test_x, test_y = images[:1400], labels[:1400], images[1400:], labels[1400:]
model = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.LayerNorm(64), nn.Linear(64, 10))

steps = 300
groups = decay_groups(model, weight_decay=0.01)  # norms and biases do not decay
print(groups)
# was: optimizer = torch.optim.AdamW(groups, lr=1e-2)
optimizer = DualAdam(groups, lr=1e-2, switch_rate=switch_rate_for(steps))
for step in range(steps):
    batch = torch.randint(len(train_x), (64,))
    optimizer.zero_grad()
    nn.functional.cross_entropy(model(train_x[batch]), train_y[batch]).backward()
    optimizer.step()
    if step == 9:
        # a mean w near 1 - alpha and a small ratio: Adam with a linear warm-up
        print(diagnosis := diagnose(optimizer))

accuracy = (model(test_x).argmax(1) == test_y).float().mean().item()
print(f"test accuracy {accuracy:.3f}")
assert all(group.ratio < 0.1 for group in diagnosis), diagnosis.as_dict()
assert accuracy > 0.88, accuracy
