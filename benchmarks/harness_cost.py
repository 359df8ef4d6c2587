"""Time a step of the comparison's training loop relative to a bare PyTorch loop.

    python benchmarks/harness_cost.py

Both loops take the same steps of the same model on the same data in turn, in one process on one
thread, so that other work on the machine affects both. The script prints medians, and the quartiles
of the ratio.
"""

import argparse
import statistics
import time
from dataclasses import replace

import torch
from torch.nn.functional import cross_entropy

from dualadam.compare.optimizers import make_optimizer
from dualadam.compare.plan import make_plan
from dualadam.compare.run import Run
from dualadam.compare.spec_file import load_spec
from dualadam.compare.train import train_loop
from dualadam.compare.training import Training
from dualadam.optim import decay_groups
from dualadam.tasks import get_task, synthetic_task
from dualadam.tasks.images.task import ImageTask

BATCH = 64
# steps of a round; rounds are short, so that both loops run under the same conditions
STEPS = {"digits": 50, "grey 28x28": 10}


def grey_28(num_train: int = 6400) -> ImageTask:
    """Return noise in the shape of Fashion-MNIST; the time of a step depends only on the shape."""
    return synthetic_task("fashion-mnist", num_train // 2)


def bare(task: ImageTask, run: Run) -> float:
    """Return the seconds per step of a plain loop over shuffled batches of normalised images."""
    torch.manual_seed(0)
    model = task.make_model(run.model)
    optimizer = make_optimizer(
        run.optimizer, decay_groups(model, run.weight_decay), run.settings, run.weight_decay
    )
    images, labels = task.normalised(task.images["train"]), task.labels["train"]
    model.train()
    total, step = 0.0, 0
    started = time.perf_counter()
    while step < run.steps:
        order = torch.randperm(len(images))
        for index in order.split(BATCH)[: len(images) // BATCH]:
            optimizer.zero_grad()
            loss = cross_entropy(model(images[index]), labels[index])
            loss.backward()
            optimizer.step()
            total += loss.detach()
            step += 1
            if step == run.steps:
                break
    float(total)
    return (time.perf_counter() - started) / run.steps


def harness(task: ImageTask, run: Run) -> float:
    """Return the seconds per step of the comparison's training loop."""
    trace = train_loop(Training(run, task), "cpu")
    return trace.seconds / trace.steps


def main() -> None:
    """Print one line per case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="time spent on each case")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    template = make_plan(load_spec("digits")).tuning_runs[0]
    print(f"torch {torch.__version__}, 1 thread, small-cnn, batches of {BATCH}")
    header = f"{'data':<12}{'optimizer':<12}{'bare, ms':>10}{'harness, ms':>13}"
    print(f"{header}{'ratio':>8}{'quartiles':>18}{'rounds':>8}")
    for name, task in {"digits": get_task("digits"), "grey 28x28": grey_28()}.items():
        for optimizer, settings in (
            ("AdamW", {"lr": 1e-3}),
            ("DualAdam", {"lr": 1e-3, "switch_rate": 0.1}),
        ):
            changes = {
                "optimizer": optimizer,
                "settings": settings,
                "weight_decay": 0.01,
                "epochs": None,
                "batch_size": BATCH,
            }
            run = replace(template, **changes, steps=STEPS[name])
            pairs = []
            deadline = time.monotonic() + arguments.seconds
            while time.monotonic() < deadline or len(pairs) < 4:
                pairs.append((bare(task, run), harness(task, run)))
            pairs = pairs[1:]  # the first round warms up
            low, middle, high = statistics.quantiles([theirs / ours for ours, theirs in pairs], n=4)
            ours, theirs = (1000 * statistics.median(times) for times in zip(*pairs, strict=True))
            times = f"{name:<12}{optimizer:<12}{ours:>10.3f}{theirs:>13.3f}"
            quartiles = f"{low:.3f} to {high:.3f}"
            print(f"{times}{middle:>8.3f}{quartiles:>18}{len(pairs):>8}")


if __name__ == "__main__":
    main()
