"""Parameters spread over two devices, in a process of its own: a flag makes two of the CPU."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_sharded_parameters_have_sharded_moments_and_train_bit_for_bit_as_whole_ones():
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
    }
    program = [sys.executable, "-W", "error", str(Path(__file__).with_name("sharded_program.py"))]
    run = subprocess.run(program, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert run.stdout == "sharded equals whole\n"
