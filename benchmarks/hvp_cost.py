"""What a Hessian-vector product costs beside a bare double-backward pass of the same model: python benchmarks/hvp_cost.py

Both run in turn, so that whatever else the machine does meets both; printed are the medians and their ratio, which must be at most 1.1.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from dualadam.flatness import MeanLoss, hvp
from dualadam.tasks.images.models import MODELS

CASES = {
    "small-cnn": (1, 8, 128),
    "small-cnn, colour": (3, 32, 64),
    "resnet18": (3, 32, 8),
    "vit": (3, 32, 8),
}  # channels, side, batch


def pair(
    model_name: str, channels: int, side: int, batch_size: int, device: str
) -> tuple[Callable[[], object], Callable[[], object]]:
    """Return the bare pass and the product, of one model on two batches in evaluation mode."""
    torch.manual_seed(0)
    model = MODELS[model_name](10, channels, side).to(device).eval()
    batches = [
        (
            torch.randn(batch_size, channels, side, side, device=device),
            torch.randint(10, (batch_size,), device=device),
        )
        for _ in "ab"
    ]
    loss = MeanLoss(model, lambda model, batch: cross_entropy(model(batch[0]), batch[1]), batches)
    vector = torch.randn(loss.num_params, device=device)
    parts = list(loss.split(vector).values())

    def bare() -> None:
        with sdpa_kernel(SDPBackend.MATH):  # without it, attention has no double-backward pass
            for x, y in batches:
                grads = torch.autograd.grad(
                    cross_entropy(model(x), y), loss.params, create_graph=True
                )
                torch.autograd.grad(grads, loss.params, parts)

    return bare, lambda: hvp(loss, vector)


def seconds(function: Callable[[], object], device: str) -> float:
    """Return the wall-clock time of one call, the device's work included."""
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
    for name, (channels, side, batch_size) in CASES.items():
        functions = pair(name.split(",")[0], channels, side, batch_size, arguments.device)
        for function in functions:
            seconds(function, arguments.device)
        until = time.perf_counter() + arguments.seconds
        times: list[tuple[float, float]] = []
        while time.perf_counter() < until or len(times) < 5:
            times.append(
                (seconds(functions[0], arguments.device), seconds(functions[1], arguments.device))
            )
        bare, product = (statistics.median(column) for column in zip(*times, strict=True))
        print(
            f"{name:<20}{1e3 * bare:>12.2f}{1e3 * product:>12.2f}{product / bare:>8.3f}{len(times):>8}",
            flush=True,
        )


if __name__ == "__main__":
    main()
