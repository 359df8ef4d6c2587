"""What a result depends on besides its settings: versions, machine, device, threads."""

from __future__ import annotations

import os
import platform
import time
from importlib.metadata import version
from typing import Any

import torch

from dualadam._version import __version__


def environment(device: str = "cpu") -> dict[str, Any]:
    """Return the versions, the machine, the device and the number of threads of a run."""
    return {
        "dualadam": __version__,
        "torch": torch.__version__,
        "numpy": version("numpy"),
        "python": platform.python_version(),
        "machine": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        "threads": torch.get_num_threads(),
    }


def study_environment() -> dict[str, Any]:
    """Return the environment of a run, with the version of SciPy, the cores and the date."""
    return {
        **environment(),
        "scipy": version("scipy"),
        "cores": num_cores(),
        "date": time.strftime("%Y-%m-%d"),
    }


def num_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
