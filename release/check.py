"""Builds a release and tries it: `make release-check`. Nothing is uploaded.

The sdist, the wheel built from it, its tag, its content and its metadata are checked. Then the
wheel is installed, with torch alone, into a clean environment of each Python that this machine
has, and `release/smoke.py` runs there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "build/release"
LAST_MINOR = 30  # of Python 3 that is looked for
IN_THE_WHEEL = (
    r"dualadam/optim/_kernels/libdualadam_cpu\.(so|dylib|dll|pyd)",
    r"dualadam/compare/specs/digits\.toml",
    r"dualadam/compare/templates/\S+\.j2",
    r"dualadam/py\.typed",
    r"dualadam-\S+\.dist-info/licenses/LICENSE",
)


def say(text: str) -> None:
    """Print a line at once, so that it stands above the output of the next command."""
    print(text, flush=True)


def run(*command: str | Path, cwd: Path = ROOT, quiet: bool = False) -> None:
    """Run a command; its failure ends the check."""
    stdout = subprocess.DEVNULL if quiet else None
    subprocess.run([str(part) for part in command], cwd=cwd, check=True, stdout=stdout)


def version() -> str:
    """Return the version of the source, which stands in one place."""
    text = (ROOT / "src/dualadam/_version.py").read_text()
    return re.findall(r'^__version__ = "(.+)"$', text, re.M)[0]


def lowest_minor() -> int:
    """Return n of the lowest Python 3.n that the package allows."""
    allowed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    return int(allowed.removeprefix(">=3."))


def works(python: str) -> bool:
    """Whether a command is a Python; a shim of pyenv may stand for a version that is not chosen."""
    return subprocess.run([python, "-c", ""], capture_output=True).returncode == 0


def pythons() -> list[str]:
    """Return the Pythons at hand, each minor version once, the oldest first."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    folders = [*os.environ["PATH"].split(os.pathsep), *map(str, pyenv.glob("*/bin"))]
    found = []
    for minor in range(lowest_minor(), LAST_MINOR + 1):
        at = (shutil.which(f"python3.{minor}", path=folder) for folder in folders)
        if python := next((path for path in at if path and works(path)), None):
            found.append(python)
    return found or [sys.executable]


def missing_files(names: list[str]) -> list[str]:
    """Return the patterns that no file of the wheel has."""
    return [p for p in IN_THE_WHEEL if not any(re.fullmatch(p, name) for name in names)]


def build() -> Path:
    """Build the sdist and, from it, the wheel; return the wheel with its final tag."""
    shutil.rmtree(OUT, ignore_errors=True)
    raw = OUT / "raw"
    run(sys.executable, "-m", "build", "--outdir", raw)
    (sdist,) = raw.glob("*.tar.gz")
    (wheel,) = raw.glob("*.whl")
    sdist.rename(OUT / sdist.name)
    if sys.platform == "linux":
        run(sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", OUT, wheel)
    else:
        wheel.rename(OUT / wheel.name)
    shutil.rmtree(raw)
    (final,) = OUT.glob("*.whl")
    return final


def check_files(wheel: Path) -> None:
    """Check the tag, the version, the content and the metadata of what was built."""
    names = zipfile.ZipFile(wheel).namelist()
    assert f"dualadam-{version()}-py3-none-" in wheel.name, wheel.name
    assert sys.platform != "linux" or "-manylinux_" in wheel.name, wheel.name
    assert (OUT / f"dualadam-{version()}.tar.gz").exists()
    assert not missing_files(names), f"{wheel.name} lacks {missing_files(names)}"
    assert not [name for name in names if "tests/" in name]
    run(sys.executable, "-m", "twine", "check", "--strict", *OUT.iterdir())


def try_wheel(python: str, wheel: Path) -> None:
    """Install the wheel into a clean environment, and run it from an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        empty = Path(folder, "empty")
        empty.mkdir()
        run(python, "-m", "venv", Path(folder, "env"))
        programs = Path(folder, "env", "Scripts" if sys.platform == "win32" else "bin")
        install = (
            *(programs / "python", "-m", "pip", "install", "--quiet"),
            *("--disable-pip-version-check", "--constraint", ROOT / "constraints.txt"),
        )
        run(*install, wheel)
        run(programs / "python", "-I", ROOT / "release/smoke.py", cwd=empty)
        bare = subprocess.run(
            [programs / "dualadam", "list"], cwd=empty, capture_output=True, text=True
        )
        assert "pip install 'dualadam[bench]'" in bare.stderr, bare
        run(*install, f"{wheel}[bench]")
        run(programs / "dualadam", "compare", "--dry-run", cwd=empty, quiet=True)


def main() -> None:
    """Build, check and try."""
    say(f"Building dualadam {version()}")
    wheel = build()
    check_files(wheel)
    for python in pythons():
        say(f"A clean environment of {python}, with {wheel.name}")
        try_wheel(python, wheel)
    say(f"Ready: {', '.join(sorted(file.name for file in OUT.iterdir()))} in {OUT}")


if __name__ == "__main__":
    main()
