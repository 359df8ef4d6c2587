"""The compiled library: its build and installation, its machine code, its memory accesses."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import sys
import textwrap
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dualadam import DualAdam
from dualadam.optim import fused_status
from dualadam.optim._kernels import library

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src/dualadam/optim/_kernels/cpu.cpp"
PIP = ("-m", "pip", "--disable-pip-version-check")
NO_COMPILER = {"CC": "/bin/false", "CXX": "/bin/false"}
# Packed square roots of four float32 and, where the processor has them, of eight and sixteen
PACKED_ROOTS = {
    "x86_64": [
        *(r"\bsqrtps\s", r"\bvsqrtps\s.*%ymm", r"\bvsqrtps\s.*%zmm"),
        *(r"\bsqrtpd\s", r"\bvsqrtpd\s.*%ymm", r"\bvsqrtpd\s.*%zmm"),
    ],
    "aarch64": [r"fsqrt\s+v\d+\.4s"],
}


def run(
    *arguments: object, cwd: Path | None = None, check: bool = True, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run this Python, without what the tests' own environment would add to its path."""
    env = {
        k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "DUALADAM_DISABLE_FUSED")
    } | environment
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, env=env
    )
    assert done.returncode == 0 or not check, done.stdout + done.stderr
    return done


def copy_of_the_project(folder: Path) -> Path:
    """Copy what an installation reads, and nothing that was built before."""
    folder.mkdir()
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    shutil.copytree(
        ROOT / "src",
        folder / "src",
        ignore=shutil.ignore_patterns("*.so", "*.pyd", "*.egg-info", "__pycache__"),
    )
    return folder


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(
        *PIP,
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        folder,
        copy_of_the_project(folder / "project"),
    )
    (wheel,) = folder.glob("*.whl")
    return wheel


def machine_code(library: Path) -> str:
    return subprocess.run(
        ["objdump", "--disassemble", str(library)], capture_output=True, text=True, check=True
    ).stdout


def missing_roots(code: str) -> list[str]:
    return [pattern for pattern in PACKED_ROOTS[platform.machine()] if not re.search(pattern, code)]


def test_packed_square_roots_are_in_the_machine_code(wheel: Path, tmp_path: Path):
    with zipfile.ZipFile(wheel) as archive:
        library = archive.extract("dualadam/optim/_kernels/libdualadam_cpu.so", tmp_path)
    assert missing_roots(machine_code(Path(library))) == []


def test_without_the_flag_that_the_build_sets_they_would_be_missing(tmp_path: Path):
    library = tmp_path / "library.so"
    subprocess.run(
        ["g++", "-std=c++17", "-O3", "-fPIC", "-shared", str(SOURCE), "-o", str(library)],
        check=True,
    )
    assert missing_roots(machine_code(library)) == PACKED_ROOTS[platform.machine()]


# Every dtype; sizes around blocks of 64 and shares of 32,768; each also one element off alignment
MEMORY_RUN = """
import itertools, os, sys, warnings
from pathlib import Path
import torch
from dualadam import DualAdam
from dualadam.optim import fused_status, memory_traffic
from dualadam.optim._kernels import cpu as cpu_kernel
from dualadam.optim._kernels import library
from dualadam.optim._step.columns import Columns
from dualadam.optim._step.settings import StepSettings

library.LIBRARY = Path(sys.argv[1])
SIZES = (0, 1, 2, 33, 63, 64, 65, 127, 129, 1023, 70_001)
DTYPES = [(p, s) for p, states in cpu_kernel.STATE_DTYPES.items() for s in states]
num_tensors = 0
for (dtype, state_dtype), noisy, instructions, threads in itertools.product(
    DTYPES, (False, True), cpu_kernel.INSTRUCTION_SETS, (1, 2)
):
    rounded = state_dtype == torch.uint8 or torch.bfloat16 in (dtype, state_dtype)
    if noisy and not rounded or state_dtype == torch.uint8 and not noisy:
        continue
    torch.set_num_threads(threads)
    os.environ["DUALADAM_INSTRUCTION_SET"] = instructions
    tensors = [torch.ones(n + offset, dtype=dtype)[offset:] for n in SIZES for offset in (0, 1)]
    params = [torch.nn.Parameter(tensor) for tensor in tensors]
    for p in params:
        p.grad = torch.ones_like(p)
    stored = None if dtype == torch.float64 else state_dtype
    optimizer = DualAdam(params, fused=True, stochastic_rounding=noisy, state_dtype=stored)
    optimizer.step(), optimizer.step()
    assert fused_status(optimizer).paths == {"fused": len(params)}
    num_tensors += len(params)
for n in SIZES:
    memory_traffic(*(torch.ones(n) for _ in range(4)))
print(num_tensors, "tensors")

if len(sys.argv) > 2:  # one element more than there is
    tensors = [torch.ones(n) for n in (33, 32, 33, 33)]
    p = torch.nn.Parameter(tensors[0])
    columns = Columns([p], [tensors[1]], [tensors[2]], [tensors[3]], [torch.tensor(1.0)], [0])
    numbers = dict(lr=1e-3, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0, switch_rate=0.0)
    settings = StepSettings(**numbers, maximize=False, on_device=False, stochastic_rounding=False)
    cpu_kernel.step_tensors(columns, settings)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="loads the sanitizer as Linux does")
def test_under_the_address_sanitizer_no_byte_outside_the_tensors_is_touched(tmp_path: Path):
    sanitize = dict.fromkeys(("CFLAGS", "CXXFLAGS", "LDFLAGS"), "-fsanitize=address -g")
    run(
        "setup.py",
        "-q",
        "build_ext",
        "--build-temp",
        tmp_path / "temp",
        "--build-lib",
        tmp_path / "lib",
        cwd=ROOT,
        **sanitize,
    )
    built = tmp_path / "lib/dualadam/optim/_kernels/libdualadam_cpu.so"
    names = ("libasan.so", "libstdc++.so")
    runtime = [
        subprocess.run(
            ["gcc", f"-print-file-name={n}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for n in names
    ]
    environment = {
        "LD_PRELOAD": " ".join(runtime),
        "ASAN_OPTIONS": "detect_leaks=0",
        "PYTHONPATH": str(ROOT / "src"),
    }
    script = tmp_path / "memory_run.py"
    script.write_text(MEMORY_RUN)
    assert run(script, built, **environment).stdout == "1848 tensors\n"
    beyond = run(script, built, "beyond", check=False, **environment)
    assert beyond.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in beyond.stderr
    assert "READ of size" in beyond.stderr


@pytest.fixture
def fresh() -> Iterator[None]:
    """Forget the library that is loaded, before and after the test."""
    library.load.cache_clear()
    yield
    library.load.cache_clear()


def sentence_of_a_refusal() -> str:
    with pytest.raises(RuntimeError) as caught:
        DualAdam([torch.ones(2, requires_grad=True)], fused=True)
    assert not fused_status().available
    return str(caught.value)


@pytest.mark.usefixtures("fresh")
def test_a_library_of_another_version_is_refused_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    newer = tmp_path / "newer.cpp"
    text, version = SOURCE.read_text(), library.ABI_VERSION
    here, there = (f"abi_version() {{ return {number}; }}" for number in (version, version + 1))
    newer.write_text(text.replace(here, there))
    headers = f"-I{SOURCE.parent}"
    built = str(tmp_path / "newer.so")
    subprocess.run(
        ["g++", "-std=c++17", "-fPIC", "-shared", headers, str(newer), "-o", built], check=True
    )
    monkeypatch.setattr(library, "LIBRARY", tmp_path / "newer.so")
    assert sentence_of_a_refusal() == (
        "fused=True is not available: the CPU kernel belongs to another version of dualadam "
        f"(interface {version + 1}, not {version}); reinstall dualadam, "
        "or leave fused=None."
    )


@pytest.mark.usefixtures("fresh")
def test_a_file_that_is_no_library_is_refused_with_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    (tmp_path / "library.so").write_text("no library")
    monkeypatch.setattr(library, "LIBRARY", tmp_path / "library.so")
    assert re.fullmatch(
        r"fused=True is not available: the CPU kernel could not be loaded \(.+\); "
        r"reinstall dualadam, or leave fused=None\.",
        sentence_of_a_refusal(),
    )


@pytest.mark.usefixtures("fresh")
def test_a_missing_library_is_said_in_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(library, "LIBRARY", tmp_path / "library.so")
    assert sentence_of_a_refusal() == (
        "fused=True is not available: the CPU kernel was not compiled when dualadam was "
        "installed; install a C++ compiler and reinstall "
        "dualadam, or leave fused=None."
    )


STEPS = textwrap.dedent("""
    import sys, torch, dualadam
    from dualadam.optim import fused_status
    print(dualadam.__file__)
    for settings in ({"foreach": False}, {"foreach": True}, {"fused": True}):
        p = torch.ones(3, requires_grad=True)
        p.grad = torch.ones(3)
        try:
            dualadam.DualAdam([p], lr=0.5, **settings).step()
        except RuntimeError as error:
            print(error)
        else:
            print("moved" if p.max() < 1 else "still")
    """)


def what_steps_print(site: Path) -> list[str]:
    lines = run("-c", STEPS, cwd=site, PYTHONPATH=str(site)).stdout.splitlines()
    assert Path(lines[0]).is_relative_to(site)
    return lines[1:]


def test_without_a_compiler_the_installation_succeeds_and_only_the_fused_path_is_missing(
    tmp_path: Path,
):
    project, site = copy_of_the_project(tmp_path / "project"), tmp_path / "site"
    run(
        *PIP,
        "install",
        "--no-deps",
        "--no-build-isolation",
        "--ignore-installed",
        "--target",
        site,
        project,
        **NO_COMPILER,
    )
    assert what_steps_print(site) == [
        "moved",
        "moved",
        "fused=True is not available: the CPU kernel was not compiled when dualadam was "
        "installed; install a C++ compiler and reinstall "
        "dualadam, or leave fused=None.",
    ]


def test_the_wheel_is_for_any_python_3_on_this_platform_and_brings_the_library(
    wheel: Path, tmp_path: Path
):
    assert re.fullmatch(r"dualadam-[^-]+-py3-none-(?!any)\w+\.whl", wheel.name)
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    assert what_steps_print(tmp_path) == ["moved", "moved", "moved"]


def test_an_editable_installation_puts_the_library_beside_its_source(tmp_path: Path):
    project = copy_of_the_project(tmp_path / "project")
    run(
        *PIP,
        "install",
        "--no-deps",
        "--no-build-isolation",
        "--ignore-installed",
        "--prefix",
        tmp_path / "prefix",
        "--editable",
        project,
    )
    assert what_steps_print(project / "src") == ["moved", "moved", "moved"]
