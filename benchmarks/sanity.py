"""Do the image tasks train as they should? Single runs of the comparison's own loop on real data, to be held against well-known numbers.

    python benchmarks/sanity.py cifar10 --data FOLDER --out benchmarks/records/DATE_sanity

writes OUT/NAME.json: the record of the run, wall and CPU seconds. Names: cifar10, fashion-mnist, resnet18 (its step time only).
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from dualadam.bench.train import Run, train

COMMON: dict[str, Any] = {
    "phase": "judge",
    "block": "sanity",
    "arm": "AdamW",
    "trial": 0,
    "seed": 0,
    "optimizer": "AdamW",
    "weight_decay": 0.05,
    "steps": None,
    "batch_size": 128,
    "schedule": "cosine",
    "final_fraction": 0.001,
}
RUNS: dict[str, dict[str, Any]] = {
    "cifar10": {"task": "cifar10", "model": "small-cnn", "epochs": 12, "settings": {"lr": 3e-3}, "augment": True},
    "fashion-mnist": {"task": "fashion-mnist", "model": "small-cnn", "epochs": 5, "settings": {"lr": 3e-3}},
    "resnet18": {
        "task": "cifar10",
        "model": "resnet18",
        "epochs": None,
        "steps": 40,
        "settings": {"lr": 1e-3},
        "augment": True,
        "phase": "tune",
    },
}


def main() -> None:
    """Make one of the runs and write its record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=RUNS)
    parser.add_argument("--data", help="folder with the data set; else the environment variable DUALADAM_DATA")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()

    wall, cpu = time.perf_counter(), time.process_time()
    record = train(Run(**COMMON | RUNS[arguments.name]), data=arguments.data, device=arguments.device)
    record.pop("correct", None)
    record |= {"wall_seconds": round(time.perf_counter() - wall, 1), "cpu_seconds": round(time.process_time() - cpu, 1)}
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / f"{arguments.name}.json").write_text(json.dumps(record, indent=1) + "\n")
    test = record.get("test", {}).get("score")
    print(
        f"{arguments.name}: {record['status']}, test accuracy {test if test is not None else '-'} %, "
        f"{1000 * record['seconds_per_step']:.1f} ms a step, {record['wall_seconds']} s wall, {record['cpu_seconds']} s CPU"
    )


if __name__ == "__main__":
    main()
