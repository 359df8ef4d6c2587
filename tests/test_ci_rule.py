"""Under CI a test skipped for a missing dependency fails; one that needs a GPU may skip."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = """
import pytest

def test_runs():
    pass

def test_lacks_a_dependency():
    pytest.importorskip("a_module_that_nobody_has")

@pytest.mark.gpu
@pytest.mark.skip(reason="needs a CUDA device")
def test_lacks_a_gpu():
    pass

@pytest.mark.xfail(reason="known")
def test_known_failure():
    assert False
"""
MODULE = "import pytest\npytest.importorskip('a_module_that_nobody_has')\n"


@pytest.mark.parametrize(
    ("environment", "summary", "code"),
    [
        ({"CI": "true"}, "1 failed, 1 passed, 1 skipped, 1 xfailed, 1 error", 1),
        ({}, "1 passed, 3 skipped, 1 xfailed", 0),
    ],
    ids=["under CI", "elsewhere"],
)
def test_a_skip_for_a_missing_dependency_fails_under_ci_only(
    tmp_path: Path, environment: dict[str, str], summary: str, code: int
):
    shutil.copy(Path(__file__).parent / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    (tmp_path / "test_some.py").write_text(TESTS)
    (tmp_path / "test_module.py").write_text(MODULE)
    inherited = {
        key: value
        for key, value in os.environ.items()
        if key != "CI" and not key.startswith("PYTEST")
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--continue-on-collection-errors",
        str(tmp_path),
    ]
    run = subprocess.run(
        command,
        cwd=tmp_path,
        env=inherited | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert summary in run.stdout, run.stdout
    assert run.returncode == code
    assert ("Under CI only a missing GPU may skip a test" in run.stdout) is bool(environment)
