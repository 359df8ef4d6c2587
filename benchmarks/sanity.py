"""Check that the image tasks train: single runs of the comparison's loop on real data.

    python benchmarks/sanity.py cifar10 --data FOLDER --out benchmarks/records/DATE_sanity

The accuracy can be compared with well-known numbers. The script writes OUT/NAME.json: the record of
the run, wall and CPU seconds. The names are cifar10, fashion-mnist and resnet18, which times the
first steps of an epoch.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from dualadam.compare.run import Run
from dualadam.compare.train import train
from dualadam.compare.training import Training
from dualadam.harness.environment import environment
from dualadam.tasks import get_task

COMMON: dict[str, Any] = {
    "phase": "judge",
    "block": "sanity",
    "arm": "AdamW",
    "trial": 0,
    "seed": 0,
    "metric": "accuracy",
    "optimizer": "AdamW",
    "weight_decay": 0.05,
    "steps": None,
    "batch_size": 128,
    "schedule": "cosine",
    "final_fraction": 0.001,
}
RUNS: dict[str, dict[str, Any]] = {
    "cifar10": {
        "task": "cifar10",
        "model": "small-cnn",
        "epochs": 12,
        "settings": {"lr": 3e-3},
        "augment": True,
    },
    "fashion-mnist": {
        "task": "fashion-mnist",
        "model": "small-cnn",
        "epochs": 5,
        "settings": {"lr": 3e-3},
    },
    "resnet18": {
        "task": "cifar10",
        "model": "resnet18",
        "epochs": 1,
        "settings": {"lr": 1e-3},
        "augment": True,
    },
}


def start_an_epoch(run: Run, data: str | None, device: str, num_steps: int = 12) -> dict[str, Any]:
    """Take the first steps of an epoch, and return the median time of those after the second."""
    training = Training(run, get_task(run.task, data=data, device=device))
    times, losses = [], []
    for step, batch in zip(range(1, num_steps + 1), training.batches(), strict=False):
        started = time.perf_counter()
        losses.append(training.step(step, batch).item())
        times.append(time.perf_counter() - started)
    seconds = statistics.median(times[2:])
    return {
        "run": run.to_json(),
        "status": "stopped",
        "steps": num_steps,
        "steps_per_epoch": training.num_steps,
        "losses": losses,
        "seconds_per_step": seconds,
        "seconds_per_epoch": seconds * training.num_steps,
        "environment": environment(device),
    }


def main() -> None:
    """Make one run and write its record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=RUNS)
    parser.add_argument(
        "--data", help="folder with the data set; else the environment variable DUALADAM_DATA"
    )
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    wall, cpu = time.perf_counter(), time.process_time()
    run = Run(**COMMON | RUNS[arguments.name])
    if arguments.name == "resnet18":
        record = start_an_epoch(run, arguments.data, arguments.device)
    else:
        record = train(run, data=arguments.data, device=arguments.device).to_json()
        del record["correct"]
    record |= {
        "wall_seconds": round(time.perf_counter() - wall, 1),
        "cpu_seconds": round(time.process_time() - cpu, 1),
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / f"{arguments.name}.json").write_text(json.dumps(record, indent=1) + "\n")
    test = record.get("test", {}).get("score")
    accuracy = "-" if test is None else f"{test} %"
    print(
        f"{arguments.name}: {record['status']}, test accuracy {accuracy}, "
        f"{1000 * record['seconds_per_step']:.1f} ms per step, "
        f"{record['wall_seconds']} s wall, {record['cpu_seconds']} s CPU"
    )


if __name__ == "__main__":
    main()
