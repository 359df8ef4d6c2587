"""The Makefile says what it installs and how long it takes, and stops where pip fails."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAKEFILE = (ROOT / "Makefile").read_text()
DURATION = re.compile(r"(?:about )?\d+(?: to \d+)? (?:minutes|seconds)")
pytestmark = pytest.mark.skipif(not shutil.which("make"), reason="Makefile needs make")


@pytest.mark.parametrize("target", ["demo", "demo-llm", "test"])
def test_make_help_and_the_readme_give_the_same_duration(target: str):
    (line,) = re.findall(rf"^{target}:.*## (.+)$", MAKEFILE, re.M)
    (duration,) = DURATION.findall(line)
    readme = re.findall(rf"`make {target}`[^`]*", (ROOT / "README.md").read_text())
    assert any(duration in sentence for sentence in readme)


def test_make_demo_says_what_it_does_and_for_how_long_before_each_step(tmp_path: Path):
    run = subprocess.run(
        ["make", "--dry-run", "demo", f"VENV={tmp_path}/env"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    lines = run.stdout.splitlines()
    slow = [
        i for i, line in enumerate(lines) if re.match(r"\S+/env/bin/\S+ .*(install|compare)", line)
    ]
    assert len(slow) == 3
    for i in slow:
        assert re.match(r"echo .*(minute|seconds)", lines[i - 1])


@pytest.mark.parametrize(
    "target", ["setup", "setup-llm", "docs", "release-check", "test", "test-integrations"]
)
def test_every_installation_is_a_command_of_the_shell_and_goes_through_the_filter(
    target: str, tmp_path: Path
):
    run = subprocess.run(
        ["make", "--dry-run", target, f"VENV={tmp_path}/env"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    subprocess.run(["bash", "-n"], input=run.stdout, text=True, check=True)
    installed = [line for line in run.stdout.replace("\\\n", "").splitlines() if " pip " in line]
    assert len(installed) >= 2
    assert all("| awk" in line for line in installed)


def test_the_output_of_pip_becomes_a_line_for_each_large_download(tmp_path: Path):
    program = re.findall(r"^SHOW := (awk '.*?')$", MAKEFILE, re.M | re.S)[0]
    script = tmp_path / "show.sh"
    script.write_text(program.replace("\\\n", "").replace("$$", "$"))
    said = (
        "Collecting torch==2.13.0\n"
        "  Downloading https://a.host/torch-2.13.0-cp311.whl (190.5 MB)\n"
        "  Downloading numpy-2.whl (16.4 MB)\n"
        "  Downloading rich-15.whl (243 kB)\n"
        "  Downloading joblib-1.whl (1.2 MB)\n"
        "Installing collected packages: torch, numpy, rich\n"
    )
    run = subprocess.run(["sh", script], input=said, capture_output=True, text=True, check=True)
    assert run.stdout.splitlines() == [
        "  downloading torch-2.13.0-cp311.whl, 190.5 MB",
        "  downloading numpy-2.whl, 16.4 MB",
        "  packages to unpack: 3",
    ]


def test_make_stops_where_pip_fails(tmp_path: Path):
    """The output of pip goes through a filter, whose exit status must not hide pip's."""
    (tmp_path / "Makefile").write_text(
        re.findall(r"^SHELL.*?(?=^\.DEFAULT_GOAL)", MAKEFILE, re.M | re.S)[0]
        + "all:\n\t@$(PIP) torch | $(SHOW)\n\t@echo done\n"
    )
    (tmp_path / "bin").mkdir()
    python = tmp_path / "bin/python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    run = subprocess.run(
        ["make", "BIN=bin", "VENV=env"], cwd=tmp_path, capture_output=True, text=True
    )
    assert run.returncode != 0
    assert "done" not in run.stdout
