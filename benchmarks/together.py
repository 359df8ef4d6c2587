"""Time N trainings of one arm that take their steps together, relative to N one after the other.

    python benchmarks/together.py
    python benchmarks/together.py --case perceptron --together 8 32

The trainings are the seeds of one point. Together, their parameters are stacked and each step calls
the model once, by ``torch.func.vmap``; one after the other, they run in the comparison's own loop.
Both make their models, take the same steps with a fused Adam on the same batches, and score the
validation split. Times are those of the processor, on one thread, in alternating rounds; the script
prints medians, and how far the final validation losses of the two ways are apart.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy, pad

from dualadam.compare import Problem, Run
from dualadam.compare.optimizers import optimizer_of
from dualadam.compare.plan import make_plan
from dualadam.compare.schedule import LearningRateSchedule
from dualadam.compare.spec_file import load_spec
from dualadam.compare.training import Training, seed_all
from dualadam.tasks import Task, get_task, pickled_source

CHARACTERS = 64


@dataclass(frozen=True)
class Case:
    """A task and the size of its runs; with ``change``, the runs together have other modules."""

    task: Task
    model: str
    batch: int
    steps: int
    change: Callable[[nn.Module], nn.Module] = lambda model: model


class Patches(nn.Module):
    """A 3 x 3 convolution without bias as one matrix product, in channels_last."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight = convolution.weight

    def forward(self, images: Tensor) -> Tensor:
        """Return what the convolution returns."""
        n, _, h, w = images.shape
        padded = pad(images.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        shifted = [padded[:, i : i + h, k : k + w] for i in range(3) for k in range(3)]
        weight = self.weight.permute(2, 3, 1, 0).flatten(0, 2)
        return (torch.cat(shifted, -1).flatten(0, 2) @ weight).view(n, h, w, -1).permute(0, 3, 1, 2)


def with_patches(model: nn.Module) -> nn.Module:
    """Return the layers of a network with every convolution replaced."""
    layers = (Patches(x) if isinstance(x, nn.Conv2d) else x for x in model.children())
    return nn.Sequential(*layers)


class Transformer(nn.Module):
    """A causal Transformer; (B, L) characters to (B, L, CHARACTERS) logits."""

    def __init__(self, layers: int, width: int, length: int) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(CHARACTERS, width), nn.Embedding(length, width)
        layer = partial(nn.TransformerEncoderLayer, width, 2, 2 * width, dropout=0.0)
        self.layers = nn.ModuleList(layer(batch_first=True) for _ in range(layers))
        self.head = nn.Linear(width, CHARACTERS)
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, characters: Tensor) -> Tensor:
        """Return the logits of each next character."""
        hidden = self.token(characters) + self.place.weight
        for layer in self.layers:
            hidden = layer(hidden, src_mask=self.mask, is_causal=True)
        return self.head(hidden)


def problem(model: Callable[[], nn.Module], x: Tensor, y: Tensor) -> Task:
    """Return the task of a model on noise."""

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        return cross_entropy(model(batch[0]).flatten(0, -2), batch[1].flatten())

    def make() -> Problem:
        return Problem(model=model, loss=loss, train=(x, y), validation=(x[:256], y[:256]))

    return get_task("python:make", source=pickled_source(make))


def text(layers: int, width: int, length: int, batch: int, steps: int) -> Case:
    """Return a Transformer that predicts characters."""
    x = torch.randint(CHARACTERS, (512, length + 1), generator=torch.Generator().manual_seed(0))
    task = problem(partial(Transformer, layers, width, length), x[:, :-1], x[:, 1:])
    return Case(task, "", batch, steps)


def perceptron(width: int, batch: int, steps: int) -> Case:
    """Return a network of three layers."""
    x = torch.randn(1024, 64, generator=torch.Generator().manual_seed(0))
    labels = x.matmul(torch.randn(64, 10, generator=torch.Generator().manual_seed(1))).argmax(1)

    def model() -> nn.Module:
        first, second = nn.Linear(64, width), nn.Linear(width, width)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU(), nn.Linear(width, 10))

    return Case(problem(model, x, labels), "", batch, steps)


CASES: dict[str, Callable[[], Case]] = {
    "perceptron": lambda: perceptron(64, 32, 100),
    "perceptron-256": lambda: perceptron(256, 32, 60),
    "characters": lambda: text(1, 32, 32, 16, 20),
    "transformer": lambda: text(2, 64, 64, 16, 6),
    "digits": lambda: Case(get_task("digits"), "small-cnn", 32, 20),
    "digits-patches": lambda: Case(get_task("digits"), "small-cnn", 32, 20, with_patches),
}


def one_after_the_other(case: Case, runs: list[Run]) -> list[float]:
    """Train run after run, and return their validation losses."""
    losses = []
    for run in runs:
        training = Training(run, case.task)
        for step, batch in zip(range(1, case.steps + 1), training.batches(), strict=False):
            training.step(step, batch)
        losses.append(training.evaluate("validation").loss)
    return losses


def together(case: Case, runs: list[Run]) -> list[float]:
    """Take the steps of all runs at once, and return their validation losses."""
    task, models, orders = case.task, [], []
    for run in runs:
        seed_all(run.seed)
        models.append(case.change(task.make_model(run.model)))
        orders.append(torch.Generator().manual_seed(run.seed))
    params, buffers = stack_module_state(models)
    base, run = models[0].train(), runs[0]
    optimizer = optimizer_of(run, list(params.values()))
    schedule = LearningRateSchedule(optimizer, run.schedule, case.steps, run.final_fraction)

    def loss_of(params: dict[str, Tensor], buffers: dict[str, Tensor], batch: Any) -> Tensor:
        return task.loss(lambda x: functional_call(base, (params, buffers), (x,)), batch)

    every_loss = vmap(loss_of, randomness="different")
    batches = [endless(task, case.batch, order) for order in orders]
    for step in range(1, case.steps + 1):
        schedule.set(step)
        optimizer.zero_grad()
        columns = zip(*map(next, batches), strict=True)
        with sdpa_kernel(SDPBackend.MATH):  # vmap would call the fused attention N times
            every_loss(params, buffers, tuple(map(torch.stack, columns))).sum().backward()
        optimizer.step()
    losses = []
    for i, model in enumerate(models):
        state = {name: x[i].detach() for name, x in (params | buffers).items()}
        model.load_state_dict(state, strict=False)
        losses.append(task.evaluate(model, "validation").loss)
    return losses


def endless(task: Task, batch_size: int, order: torch.Generator) -> Iterator[Any]:
    """Yield batches epoch after epoch, as ``Training.batches`` does."""
    while True:
        yield from task.batches(batch_size, order, False)


def measure(case: Case, count: int, rounds: int) -> tuple[float, float, float]:
    """Return the runs a second of both ways, and the largest relative difference of a loss."""
    block = load_spec("digits").block[0]
    template = make_plan(load_spec("digits")).run("tune", block, block.find("Adam"), 0, 0)
    changes = {"model": case.model, "batch_size": case.batch, "epochs": None, "steps": case.steps}
    runs = [replace(template, seed=seed, settings={"lr": 1e-3}, **changes) for seed in range(count)]
    seconds: dict[Any, list[float]] = {one_after_the_other: [], together: []}
    losses: dict[Any, list[float]] = {}
    for _ in range(rounds + 1):
        for way, times in seconds.items():
            started = time.process_time()
            losses[way] = way(case, runs)
            times.append(time.process_time() - started)
    apart = max(abs(a / b - 1) for a, b in zip(*losses.values(), strict=True))
    single, all_at_once = (count / statistics.median(times[1:]) for times in seconds.values())
    return single, all_at_once, apart


def main() -> None:
    """Print a line for each case and number of runs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--case", choices=CASES, nargs="*", default=list(CASES))
    parser.add_argument("--together", type=int, nargs="*", default=[4, 8, 32])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'case':16} {'N':>4} {'alone':>8} {'together':>8} {'gain':>6} {'loss apart':>11}")
    for name in options.case:
        case = CASES[name]()
        for count in options.together:
            single, all_at_once, apart = measure(case, count, options.rounds)
            gain = all_at_once / single
            print(
                f"{name:16} {count:4} {single:8.2f} {all_at_once:8.2f} {gain:6.2f} {apart:11.1e}",
                flush=True,
            )


if __name__ == "__main__":
    main()
