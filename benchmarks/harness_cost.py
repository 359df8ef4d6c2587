"""Time a step of the comparison's training loop relative to a bare PyTorch loop.

    python benchmarks/harness_cost.py

Built-in data and a `Problem` are trained, each with a step of about 1 ms and of about 50 ms. Both
loops take the same steps of the same model on the same data in turn, in one process on one thread.
Times are those of the processor, so that other work on the machine matters little. The script
prints medians, and the quartiles of the ratio of a pair. What a
step pays besides is the difference of the fastest rounds of a step that is as small as possible;
the start of a worker process, which a study pays once, is timed apart.
"""

import argparse
import statistics
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from dualadam.compare import Problem
from dualadam.compare.optimizers import make_optimizer
from dualadam.compare.plan import make_plan
from dualadam.compare.run import Run
from dualadam.compare.spec_file import load_spec
from dualadam.compare.timing import worker_is_ready
from dualadam.compare.train import train_loop
from dualadam.compare.training import Training
from dualadam.harness.executors import process_executor
from dualadam.optim import decay_groups
from dualadam.tasks import Task, get_task, pickled_source, synthetic_task

BAR = 1.03  # of the median ratio
OPTIMIZERS = {
    "AdamW": {"lr": 1e-3},
    "DualAdam": {"lr": 1e-3, "switch_rate": 0.1},
}


@dataclass(frozen=True)
class Case:
    """A task, its training data as tensors, and the steps of a round.

    Rounds are short, so that both loops run under the same conditions.
    """

    name: str
    task: Task
    x: Tensor
    y: Tensor
    batch: int
    steps: int


def images(name: str, task: Task, batch: int, steps: int) -> Case:
    """Return a built-in task; the bare loop reads the same normalised images."""
    return Case(
        name, task, task.normalised(task.images["train"]), task.labels["train"], batch, steps
    )


def problem(name: str, width: int, batch: int, steps: int) -> Case:
    """Return a `Problem`: a network of three layers on noise."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(8 * batch, 64, generator=generator)
    y = torch.randint(10, (8 * batch,), generator=generator)

    def make() -> Problem:
        layers = (nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU())
        return Problem(
            model=lambda: nn.Sequential(*map(_fresh, layers), nn.Linear(width, 10)),
            loss=lambda model, batch: cross_entropy(model(batch[0]), batch[1]),
            train=(x, y),
            validation=(x[:100], y[:100]),
            test=(x[:100], y[:100]),
        )

    return Case(name, get_task(f"python:{name}", source=pickled_source(make)), x, y, batch, steps)


def _fresh(layer: nn.Module) -> nn.Module:
    return type(layer)(layer.in_features, layer.out_features) if hasattr(layer, "weight") else layer


def cases() -> list[Case]:
    """Return the four cases."""
    return [
        images("digits", get_task("digits"), 64, 50),
        images("grey 28x28", synthetic_task("fashion-mnist", 1024), 256, 4),
        problem("problem, 1 ms", 192, 64, 50),
        problem("problem, 50 ms", 1536, 384, 4),
    ]


def bare(case: Case, run: Run) -> float:
    """Return the seconds per step of a plain loop over shuffled batches."""
    torch.manual_seed(0)
    model = case.task.make_model(run.model)
    optimizer = make_optimizer(
        run.optimizer, decay_groups(model, run.weight_decay), run.settings, run.weight_decay
    )
    model.train()
    total, step = 0.0, 0
    started = time.process_time()
    while step < run.steps:
        order = torch.randperm(len(case.x))
        for index in order.split(case.batch)[: len(case.x) // case.batch]:
            optimizer.zero_grad()
            loss = cross_entropy(model(case.x[index]), case.y[index])
            loss.backward()
            optimizer.step()
            total += loss.detach()
            step += 1
            if step == run.steps:
                break
    float(total)
    return (time.process_time() - started) / run.steps


def harness(case: Case, run: Run) -> float:
    """Return the seconds per step of the comparison's training loop."""
    training = Training(run, case.task)
    started = time.process_time()
    train_loop(training, "cpu")
    return (time.process_time() - started) / run.steps


def run_of(template: Run, case: Case, optimizer: str) -> Run:
    """Return the run of a case."""
    return replace(
        template,
        optimizer=optimizer,
        settings=OPTIMIZERS[optimizer],
        weight_decay=0.01,
        reference_lr=None,
        epochs=None,
        batch_size=case.batch,
        steps=case.steps,
    )


def cost_of_a_step(template: Run, rounds: int = 20) -> float:
    """Return the seconds that the harness adds to a step: the fastest of some rounds of each."""
    case = problem("problem, tiny", 8, 8, 400)
    run = run_of(template, case, "AdamW")
    pairs = [(bare(case, run), harness(case, run)) for _ in range(rounds)]
    ours, theirs = map(min, zip(*pairs, strict=True))
    return theirs - ours


def start_of_a_worker() -> float:
    """Return the seconds until a new worker process can take its first run."""
    started = time.perf_counter()
    with process_executor(1) as (executor, _):
        executor.submit(worker_is_ready).result()
        return time.perf_counter() - started


def main() -> None:
    """Print one line per case and optimizer."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="time spent on each line")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    template = make_plan(load_spec("digits")).tuning_runs[0]
    print(f"torch {torch.__version__}, 1 thread; the bar of the ratio is {BAR}")
    header = f"{'data':<16}{'optimizer':<12}{'bare, ms':>10}{'harness, ms':>13}"
    print(f"{header}{'ratio':>8}{'quartiles':>18}{'rounds':>8}")
    for case in cases():
        for optimizer in OPTIMIZERS:
            run = run_of(template, case, optimizer)
            pairs = []
            deadline = time.monotonic() + arguments.seconds
            while time.monotonic() < deadline or len(pairs) < 4:
                pairs.append((bare(case, run), harness(case, run)))
            pairs = pairs[1:]  # the first round warms up
            low, middle, high = statistics.quantiles([theirs / ours for ours, theirs in pairs], n=4)
            ours, theirs = (1000 * statistics.median(times) for times in zip(*pairs, strict=True))
            times = f"{case.name:<16}{optimizer:<12}{ours:>10.3f}{theirs:>13.3f}"
            quartiles = f"{low:.3f} to {high:.3f}"
            print(f"{times}{middle:>8.3f}{quartiles:>18}{len(pairs):>8}", flush=True)
    print(f"The harness adds {1e6 * cost_of_a_step(template):.0f} microseconds to a step.")
    print(f"A worker starts in {start_of_a_worker():.1f} s, once in a study.")


if __name__ == "__main__":
    main()
