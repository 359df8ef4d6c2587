"""The version stands in one place, and what checks a release notices what is wrong with it."""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

from dualadam import __version__

ROOT = Path(__file__).parents[2]
SMOKE = ROOT / "release/smoke.py"
CHECK = runpy.run_path(str(ROOT / "release/check.py"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GOOD_WHEEL = [
    "dualadam/optim/_kernels/libdualadam_cpu.so",
    "dualadam/compare/specs/digits.toml",
    "dualadam/compare/templates/report.html.j2",
    "dualadam/py.typed",
    "dualadam-1.0.dist-info/licenses/LICENSE",
]


def test_the_version_stands_in_one_place_and_the_documents_follow():
    assert CHECK["version"]() == __version__
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"]["attr"].endswith("__version__")
    assert "version" not in PROJECT["project"]
    newest = re.findall(r"^## (\S+), (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)[0]
    assert newest[0] == __version__
    assert re.fullmatch(r"unreleased|\d{1,2} [A-Z][a-z]+ 20\d\d", newest[1])


def test_the_pythons_at_hand_are_those_that_run_and_that_the_package_allows():
    lowest = CHECK["lowest_minor"]()
    found = CHECK["pythons"]()
    versions = [
        subprocess.check_output([python, "-c", "import sys; print(sys.version_info[1])"], text=True)
        for python in found
    ]
    minors = [int(version) for version in versions]
    assert minors == sorted(set(minors))
    assert min(minors) >= lowest
    assert sys.version_info[1] in minors


def test_a_wheel_without_one_of_its_files_is_noticed():
    missing_files = CHECK["missing_files"]
    assert missing_files(GOOD_WHEEL) == []
    for index in range(len(GOOD_WHEEL)):
        assert len(missing_files(GOOD_WHEEL[:index] + GOOD_WHEEL[index + 1 :])) == 1


def test_the_steps_of_the_smoke_test_agree_on_both_paths(needs_the_kernel: None):
    after = runpy.run_path(str(SMOKE))["parameters_after"]
    assert float((after(50, fused=False) - after(50, fused=True)).abs().max()) < 1e-5


def test_the_smoke_test_refuses_a_package_that_is_not_the_installed_one():
    run = subprocess.run(
        [sys.executable, str(SMOKE)],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1
    assert "is not the installed package" in run.stderr or "is installed, the source" in run.stderr


def test_every_action_of_a_workflow_is_pinned_to_a_commit_and_names_its_version():
    for file in (ROOT / ".github/workflows").iterdir():
        for line in re.findall(r"uses: (.+)", file.read_text()):
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v[\d.]+", line), line


def test_the_workflow_builds_for_every_platform_and_publishes_tags_alone():
    jobs = yaml.safe_load((ROOT / ".github/workflows/release.yml").read_text())["jobs"]
    systems = jobs["wheels"]["strategy"]["matrix"]["os"]
    for name in ("ubuntu", "ubuntu-24.04-arm", "macos", "windows"):
        assert any(system.startswith(name) for system in systems)
    publish = jobs["publish"]
    assert set(publish["needs"]) == set(jobs) - {"publish"}
    assert "refs/tags/v" in publish["if"]
    assert publish["permissions"] == {"id-token": "write"}


def test_pre_commit_uses_the_linters_of_the_project_in_the_same_versions():
    pinned = {line for line in PROJECT["project"]["optional-dependencies"]["dev"] if "==" in line}
    (repository,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    used = {line for hook in repository["hooks"] for line in hook["additional_dependencies"]}
    assert used <= pinned
    assert {line.split("==")[0] for line in used} == {"ruff", "zizmor"}
