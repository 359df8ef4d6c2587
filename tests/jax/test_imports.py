"""dualadam.jax needs jax and optax, and no torch but that of the parent package."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dualadam

# A parent package that imports nothing, as if torch were not installed.
WITHOUT_PARENT = f"""
import sys, types
parent = types.ModuleType("dualadam")
parent.__path__ = [{str(Path(dualadam.__file__).parent)!r}]
sys.modules["dualadam"] = parent
"""


def run(code: str) -> subprocess.CompletedProcess[str]:
    program = [sys.executable, "-c", WITHOUT_PARENT + f"sys.path[:0] = {sys.path!r}\n" + code]
    return subprocess.run(program, capture_output=True, text=True)


def test_the_package_is_used_without_torch():
    result = run(
        "sys.modules['torch'] = None\n"
        "from dualadam.jax import diagnose, dualadam\n"
        "optimizer = dualadam(0.1)\n"
        "_, state = optimizer.update(1.0, optimizer.init(1.0))\n"
        "print(diagnose(state, switch_rate=0.01).groups[0].num_coordinates)\n"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "1\n"


def test_without_jax_the_message_names_the_extra():
    for missing in ("jax", "optax"):
        result = run(f"sys.modules[{missing!r}] = None\nimport dualadam.jax")
        assert result.stderr.splitlines()[-1] == (
            "dualadam.errors.MissingExtraError: "
            "dualadam.jax needs the extra `jax`: pip install 'dualadam[jax]'"
        )
