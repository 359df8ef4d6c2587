"""Run the studies of this folder, one after the other; a second start goes on.

    python benchmarks/studies/run_studies.py [NAME ...] [--workers N] [--device DEVICE]

Without a name, a CPU runs all studies but those of ``ON_A_GPU``, and a GPU runs only these.  The
records are in ``benchmarks/records``.  DUALADAM_DATA must be the folder with the data sets, and the
studies "variants" need the extra ``peers``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from datetime import date
from pathlib import Path

HERE = Path(__file__).resolve().parent
RECORDS = HERE.parent / "records"
NAMES = (  # the cheap ones first
    "flatness-equal-lr_digits",
    "flatness-equal-loss_digits_eigenvalue",
    "flatness-equal-loss_digits_sharpness",
    "regime-summed_digits",
    "regime-wrong-labels-20_digits",
    "regime-wrong-labels-40_digits",
    "regime-large-batch_digits",
    "regime-small-data_digits",
    "regime-fine-grid_digits",
    "variants_digits",
    "variants_fashion-mnist",
    "characters",
    "bound_fashion-mnist",
    "mix_fashion-mnist",
    "flatness-equal-lr_fashion-mnist",
    "flatness-equal-loss_fashion-mnist_eigenvalue",
    "flatness-equal-loss_fashion-mnist_sharpness",
    "regime-summed_fashion-mnist",
    "regime-wrong-labels-20_fashion-mnist",
    "mix_cifar10",
    "published-regime_fashion-mnist",
    "published-regime_cifar10",
    "inverse-decay_cifar10",
    "cifar10-again",
    "mix-again_cifar10",
    "wrong-labels-again_fashion-mnist",
    "small-data-again_digits",
    "equal-settings_cifar10",
    "replay_fashion-mnist",  # with the schedules of a finished variants_fashion-mnist
    "characters_uint8-state",  # not one of the eight: it decides about the state in 8 bits
    "published-regime_cifar10_resnet18",
    "small-lr_cifar10_resnet18",
)
ON_A_GPU = {"published-regime_cifar10_resnet18", "small-lr_cifar10_resnet18"}


def folder_of(name: str) -> Path:
    """Return the record of a study that was begun, or a new folder with today's date."""
    begun = max(RECORDS.glob(f"????-??-??_{name}"), default=None)
    return begun or RECORDS / f"{date.today()}_{name}"


def studies_for(device: str) -> list[str]:
    """Return the studies that are run on such a device where none is named."""
    return [name for name in NAMES if (name in ON_A_GPU) == (device != "cpu")]


def main() -> None:
    """Run what is named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", choices=[[], *NAMES])
    parser.add_argument("--workers", default="2")
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    path = os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")]).rstrip(os.pathsep)
    failed = []
    for name in args.names or studies_for(args.device):
        command = [sys.executable, "-m", "dualadam", "compare", str(HERE / f"{name}.toml")]
        command += ["--out", str(folder_of(name)), "--workers", args.workers, "--extend"]
        command += ["--device", args.device]
        done = subprocess.run(command, env=os.environ | {"PYTHONPATH": path})
        if done.returncode:
            failed.append(name)
    if failed:
        sys.exit(f"Not finished: {', '.join(failed)}")


if __name__ == "__main__":
    main()
