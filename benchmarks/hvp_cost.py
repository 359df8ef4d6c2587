"""Time a Hessian-vector product beside a bare double-backward pass: python benchmarks/hvp_cost.py

Both run in turn on the same model and data, so that other load on the machine affects both. The
command prints the median times and their ratio.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from dualadam.flatness import MeanLoss, hvp
from dualadam.tasks.images.models import MODELS


@dataclass(frozen=True)
class Case:
    """A model and the shape of its batches."""

    label: str
    model: str
    channels: int
    side: int
    batch_size: int


CASES = (
    Case("small-cnn", "small-cnn", channels=1, side=8, batch_size=128),
    Case("small-cnn, colour", "small-cnn", channels=3, side=32, batch_size=64),
    Case("resnet18", "resnet18", channels=3, side=32, batch_size=8),
    Case("vit", "vit", channels=3, side=32, batch_size=8),
)


class Passes(NamedTuple):
    """The two computations that are compared."""

    bare: Callable[[], object]
    product: Callable[[], object]


def passes(case: Case, device: str) -> Passes:
    """Return the bare pass and the product of one model on two batches, in evaluation mode."""
    torch.manual_seed(0)
    model = MODELS[case.model](10, case.channels, case.side).to(device).eval()
    shape = (case.batch_size, case.channels, case.side, case.side)
    batches = [
        (torch.randn(shape, device=device), torch.randint(10, (case.batch_size,), device=device))
        for _ in range(2)
    ]
    loss = MeanLoss(model, lambda model, batch: cross_entropy(model(batch[0]), batch[1]), batches)
    vector = torch.randn(loss.num_params, device=device)
    parts = list(loss.split(vector).values())

    def bare() -> None:
        with sdpa_kernel(SDPBackend.MATH):  # other attention kernels have no second derivative
            for x, y in batches:
                batch_loss = cross_entropy(model(x), y)
                grads = torch.autograd.grad(batch_loss, loss.params, create_graph=True)
                torch.autograd.grad(grads, loss.params, parts)

    return Passes(bare, lambda: hvp(loss, vector))


def seconds(function: Callable[[], object], device: str) -> float:
    """Return the wall-clock time of one call, including the work on the device."""
    started = time.perf_counter()
    function()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    """Print one line a model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--seconds", type=float, default=15.0, help="time spent on each model")
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, {arguments.device}, {torch.get_num_threads()} threads")
    print(f"{'model':<20}{'bare, ms':>12}{'hvp, ms':>12}{'ratio':>8}{'pairs':>8}")
    for case in CASES:
        pair = passes(case, arguments.device)
        for warm_up in pair:
            warm_up()
        until = time.perf_counter() + arguments.seconds
        bare_times: list[float] = []
        product_times: list[float] = []
        while time.perf_counter() < until or len(bare_times) < 5:
            bare_times.append(seconds(pair.bare, arguments.device))
            product_times.append(seconds(pair.product, arguments.device))
        bare, product = statistics.median(bare_times), statistics.median(product_times)
        print(
            f"{case.label:<20}{1e3 * bare:>12.2f}{1e3 * product:>12.2f}"
            f"{product / bare:>8.3f}{len(bare_times):>8}",
            flush=True,
        )


if __name__ == "__main__":
    main()
