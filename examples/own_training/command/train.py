"""A training without torch: a classifier in NumPy, which a comparison starts as a program.

python train.py --optimizer momentum --lr 0.1 --seed 0 --out scores.json
"""

import argparse
import json

import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--optimizer", choices=("sgd", "momentum"), required=True)
parser.add_argument("--lr", type=float, required=True)
parser.add_argument("--seed", type=int, required=True)
parser.add_argument("--steps", type=int, default=200)
parser.add_argument("--out", required=True)
options = parser.parse_args()

data = np.random.default_rng(0)  # the same data in every run
x = data.normal(size=(600, 8))
y = (x[:, :2].prod(1) + 0.5 * x.sum(1) > 0).astype(float)
splits = {"train": slice(400), "validation": slice(400, 500), "test": slice(500, 600)}

random = np.random.default_rng(options.seed)  # decides the weights and the order
hidden, head = random.normal(size=(8, 16)) / 3, random.normal(size=16) / 4
parameters = [hidden, head]
momenta = [np.zeros_like(parameter) for parameter in parameters]
keep = 0.9 if options.optimizer == "momentum" else 0.0


def forward(rows):
    units = np.tanh(rows @ hidden)
    return units, 1 / (1 + np.exp(-units @ head))


curve = []
for step in range(1, options.steps + 1):
    chosen = random.integers(0, 400, size=32)
    units, probability = forward(x[chosen])
    error = (probability - y[chosen]) / len(chosen)
    gradients = [x[chosen].T @ (np.outer(error, head) * (1 - units**2)), units.T @ error]
    for parameter, gradient, momentum in zip(parameters, gradients, momenta, strict=True):
        momentum *= keep
        momentum += gradient
        parameter -= options.lr * momentum
    if step % 20 == 0:
        target = y[chosen]
        loss = -np.log(np.where(target > 0.5, probability, 1 - probability) + 1e-9).mean()
        curve.append({"step": step, "loss": float(loss)})


def accuracy(split):
    return 100 * float(((forward(x[split])[1] > 0.5) == y[split]).mean())


scores = {name: accuracy(splits[name]) for name in ("validation", "test")}
with open(options.out, "w") as file:
    json.dump({**scores, "steps": options.steps, "curve": curve}, file)
