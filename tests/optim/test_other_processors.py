"""The kernel on processors that this machine is not, emulated by qemu: the same bits.

`make test-processors` installs qemu and the cross compiler on Debian, and runs this file.
"""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "src/dualadam/optim/_kernels"
DRIVER = Path(__file__).with_name("kernel_driver.cpp")
FLAGS = ("-std=c++17", "-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=off")
COMPILERS = {"x86_64": ("x86_64-linux-gnu-g++", "g++"), "aarch64": ("aarch64-linux-gnu-g++", "g++")}
BEST = 2  # the number of the best instruction set; a processor without it uses what it has

pytestmark = pytest.mark.integration


def tool(*names: str) -> str:
    found = next(filter(None, map(shutil.which, names)), None)
    return found or pytest.skip(f"needs {names[0]}: make test-processors installs it")


@pytest.fixture(scope="module", params=COMPILERS)
def program(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the command of the driver, compiled for one kind of processor."""
    kind = request.param
    names = COMPILERS[kind] if kind == platform.machine() else COMPILERS[kind][:1]
    target = tmp_path_factory.mktemp(kind) / "driver"
    command = [tool(*names), "-static", *FLAGS, f"-I{KERNELS}", str(DRIVER), "-o", str(target)]
    subprocess.run(command, check=True)
    return [kind, str(target)]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what this machine computes with its least instruction set."""
    target = tmp_path_factory.mktemp("here") / "driver"
    command = [tool("g++"), *FLAGS, f"-I{KERNELS}", str(DRIVER), "-o", str(target)]
    subprocess.run(command, check=True)
    hashes = output(str(target), "0")
    assert len(set(hashes.splitlines())) == 20  # one line for each pair of dtypes and rounding
    return hashes


def output(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_every_processor_gives_the_same_bits(program: list[str], expected: str):
    kind, path = program
    emulator = tool(f"qemu-{kind}", f"qemu-{kind}-static")
    models = {"x86_64": ("Nehalem", "Haswell"), "aarch64": ("cortex-a53", "max")}[kind]
    for model in models:  # Nehalem has neither AVX nor a fused multiply-add
        assert output(emulator, "-cpu", model, path, str(BEST)) == expected
