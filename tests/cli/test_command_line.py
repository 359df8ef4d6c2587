"""The commands explain themselves, refuse bad input in one message, and exit as documented.

Exit statuses: 0 for success, 1 for failed runs, 2 for bad input, 130 for Ctrl-C.
"""

import os
import re
import signal
import subprocess
import sys
import textwrap

import pytest
from compare_cases import NUM_RUNS, TINY, command, environment, run_command

from dualadam import __version__
from dualadam.compare import unfinished_report
from dualadam.compare.execution import open_study, read_records
from dualadam.compare.optimizers import OPTIMIZERS
from dualadam.compare.spec_file import builtin_specs, parse_spec
from dualadam.errors import DualAdamError
from dualadam.tasks import TASKS
from dualadam.tasks.images.models import MODELS

CIFAR = TINY.replace('task = "digits"', 'task = "cifar10"')


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Run in an empty folder, where nothing but the test writes, and without data sets."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("DUALADAM_DATA", raising=False)


def spec_file(tmp_path, text=TINY):
    file = tmp_path / "study.toml"
    file.write_text(text)
    return file


def said(capsys):
    """Both streams, folded lines joined."""
    out, err = capsys.readouterr()
    return " ".join(out.split()), " ".join(err.split())


def test_version(capsys):
    assert run_command("--version") == 0
    assert capsys.readouterr().out == f"dualadam {__version__}\n"


HELP = [
    ([], ["compare", "report", "list", "flatness", "--version", "--debug"]),
    (["compare"], ["--out", "--data", "--workers", "--device", "--cluster", "--smoke"]),
    (["compare"], ["SPEC", "--dry-run", "--estimate", "[default: digits]"]),
    (["report"], ["output folder of a comparison", "an unfinished one as far"]),
    (["list"], ["tasks, models, optimizers"]),
    (["flatness"], ["CHECKPOINT", "--task", "--rho", "--float64"]),
    (["escape"], ["--quick", "--out", "--workers"]),
    (["escape-networks"], ["--quick", "--out", "--workers"]),
    (["speed"], ["--record", "--figure", "--compiled"]),
]


@pytest.mark.parametrize(("arguments", "words"), HELP)
def test_every_command_explains_itself(arguments, words, capsys):
    assert run_command(*arguments, "--help") == 0
    out, _ = said(capsys)
    assert all(word in out for word in words)


def test_list_shows_every_name_that_a_spec_can_have(capsys):
    assert run_command("list") == 0
    out, _ = said(capsys)
    for name in (*TASKS, *OPTIMIZERS, *builtin_specs(), *MODELS):
        assert name in out


# arguments -> a part of the message on stderr
REFUSED = [
    (["compare", "no-such-spec"], "no-such-spec"),
    (["compare", "."], "."),
    (
        ["report", "nowhere"],
        "nowhere must be the output folder of a comparison, but it has no spec.json.",
    ),
    (
        ["compare", "digits", "--device", "quantum"],
        "device must be one that torch has here, such as cpu, got 'quantum'",
    ),
    (
        ["compare", "digits", "--device", "cuda:99"],
        "device must be one that torch has here, such as cpu, got 'cuda:99'",
    ),
    (["flatness", "nowhere.pt"], "nowhere.pt"),
    (["compare", "x" * 5000], "cannot be read: File name too long."),
    (["report", "x" * 5000], "cannot be read: File name too long."),
    (["flatness", "x" * 5000], "cannot be read: File name too long."),
    (["new", "x" * 5000], "cannot be written: File name too long."),
    (["new", "/dev/null/x"], "FILE must be in a folder that exists, got /dev/null/x."),
    (["compare", "digits", "--out", "x" * 5000], "cannot be written: File name too long."),
    (["compare", "digits", "--out", "/dev/null/x"], "/dev/null/x cannot be written: Not a dir"),
    (["compare", "digits", "--cluster", "nowhere"], "--cluster must be the address of a Dask"),
    (["escape", "--out", "/dev/null/x"], "/dev/null/x cannot be written: Not a directory."),
    (["escape-networks", "--out", "/dev/null/x"], "/dev/null/x cannot be written: Not a dir"),
    (["speed", "--out", "/proc/x/speed.json"], "/proc/x/speed.json cannot be written: No such"),
    (["speed", "--figure", "/dev/null/x.png"], "/dev/null must be a folder, but it is a file."),
    (["speed", "--figure", "x.xyz"], "--figure must end in .png, .svg, .pdf, got x.xyz."),
    (["speed", "--out", "."], ". must be a file, but it is a folder."),
    (["escape", "--out", "/proc/x"], "/proc/x cannot be written: No such file or directory."),
    (["escape-networks", "--out", "/proc/x"], "/proc/x cannot be written: No such file"),
    (["compare", "digits", "--out", "/proc/x"], "/proc/x cannot be written: No such file"),
    (["report", "/dev/null/x"], "/dev/null/x must be the output folder of a comparison"),
    (["speed", "--record", "nowhere.json"], "nowhere.json cannot be read: No such file"),
]


@pytest.mark.parametrize(("arguments", "part"), REFUSED)
def test_bad_input_is_one_message_and_status_2(arguments, part, tmp_path, capsys):
    assert run_command(*arguments) == 2
    out, err = capsys.readouterr()
    assert err.startswith("dualadam: ")
    assert err.count("\n") == 1
    assert part in err
    assert out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["flatten"],
        ["compare", "digits", "--wokers", "2"],
        ["compare", "--workers", "-1"],
        ["report"],
    ],
)
def test_a_mistyped_command_is_status_2_with_its_usage(arguments, capsys):
    assert run_command(*arguments) == 2
    _, err = said(capsys)
    assert "Usage: dualadam" in err
    assert "Error" in err


def test_debug_shows_the_traceback_of_the_same_error():
    with pytest.raises(DualAdamError, match="no-such-spec"):
        run_command("--debug", "compare", "no-such-spec")


def test_a_dry_run_prints_the_plan_trains_nothing_and_needs_no_data(tmp_path, capsys):
    assert run_command("compare", spec_file(tmp_path, CIFAR), "--dry-run") == 0
    out, err = said(capsys)
    for part in (
        "tiny: cifar10, small-cnn, 10 steps a run",
        "AdamW",
        "Adam + warm-up",
        "switch_rate",
        "6 tuning runs, then 9 judged runs",
    ):
        assert part in out
    assert "Decided by: DualAdam - (Adam + warm-up)" in out
    assert (
        "Warning: data must be a folder with cifar-10-batches-py/data_batch_1 for cifar10, got none"
        in err
    )
    assert [f.name for f in tmp_path.iterdir()] == ["study.toml"]


def test_help_loads_nothing_heavier_than_torch():
    code = "import sys; from dualadam.cli import app; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert not {"pydantic", "scipy", "matplotlib", "jinja2"} & set(run.stdout.split())


@pytest.mark.parametrize(("arguments", "status"), [(["--help"], 0), (["list"], 1)])
def test_after_a_plain_install_the_command_names_the_extra(arguments, status):
    code = "import sys; sys.modules['typer'] = None; from dualadam.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], env=environment(), capture_output=True, text=True
    )
    assert done.returncode == status
    assert "pip install 'dualadam[bench]'" in done.stdout + done.stderr
    assert ("Usage: dualadam" in done.stdout) == (status == 0)
    assert "Traceback" not in done.stderr


def test_a_bug_keeps_its_traceback(monkeypatch):
    def fail(folder):
        raise ValueError("shapes do not match")

    monkeypatch.setattr(unfinished_report, "draw_report", fail)
    with pytest.raises(ValueError, match="shapes do not match"):
        run_command("report", "somewhere")


def test_a_dry_run_with_its_data_warns_of_nothing(tmp_path, capsys):
    assert run_command("compare", spec_file(tmp_path), "--dry-run") == 0
    assert capsys.readouterr().err == ""


def test_missing_data_is_refused_before_any_run(tmp_path, capsys):
    assert run_command("compare", spec_file(tmp_path, CIFAR)) == 2
    _, err = said(capsys)
    assert err.startswith(
        "dualadam: data must be a folder with cifar-10-batches-py/data_batch_1 for cifar10, "
        "got none (give --data FOLDER"
    )
    assert [f.name for f in tmp_path.iterdir()] == ["study.toml"]


def test_an_estimate_times_every_arm_without_data_and_trains_nothing(tmp_path, capsys):
    assert run_command("compare", spec_file(tmp_path, CIFAR), "--estimate", "--workers", "1") == 0
    out, _ = said(capsys)
    assert re.search(r"AdamW \d+\.\d\d 5 Adam \+ warm-up \d+\.\d\d 5 DualAdam \d+\.\d\d 5", out)
    assert re.search(
        rf"{NUM_RUNS} runs of 10 steps, 1 side by side: about \d+ s, evaluations not counted\.", out
    )
    assert re.search(r"The start of the workers, once: [1-9]?\d*\.\d s more\.", out)
    assert [f.name for f in tmp_path.iterdir()] == ["study.toml"]


def test_a_run_that_raises_is_status_1_and_a_class_beside_the_spec_is_found(tmp_path, capsys):
    (tmp_path / "my_own_optimizer.py").write_text(
        textwrap.dedent("""
        import torch

        class Stumbling(torch.optim.SGD):
            def step(self, closure=None):
                self.steps = getattr(self, "steps", 0) + 1
                if self.steps == 3:
                    raise ArithmeticError("stumbled at step 3")
                return super().step(closure)
        """)
    )
    text = TINY.replace('optimizer = "AdamW"', 'optimizer = "my_own_optimizer.Stumbling"').replace(
        "steps = 10", "steps = 3"
    )
    assert run_command("compare", spec_file(tmp_path, text), "--workers", "1", "--out", "out") == 1
    _, err = said(capsys)
    assert (
        "Warning: 'AdamW': the weight decay of my_own_optimizer.Stumbling may be coupled (L2)."
        in err
    )
    assert (
        "dualadam: 2 of 6 runs failed: AdamW, point 0: ArithmeticError: stumbled at step 3" in err
    )
    assert "Traceback" not in err
    assert len(list(read_records(tmp_path / "out"))) == 4


def test_ctrl_c_outside_of_training_is_a_message_and_status_130(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(
        unfinished_report, "draw_report", lambda folder: os.kill(os.getpid(), signal.SIGINT)
    )
    assert run_command("report", tmp_path) == 130
    assert capsys.readouterr().err == "\ndualadam: Stopped.\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no fcntl")
def test_a_second_process_on_the_same_folder_is_refused(tmp_path, capsys):
    file, out = spec_file(tmp_path), tmp_path / "out"
    with open_study(out, parse_spec(TINY)):
        before = sorted(out.iterdir())
        second = subprocess.run(
            command("compare", file, "--out", out),
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        message = f"Another process writes into {out}. Wait for it, or choose another --out."
        assert (second.returncode, second.stderr) == (2, f"dualadam: {message}\n")
        assert sorted(out.iterdir()) == before
    with open_study(out, parse_spec(TINY)) as store:  # free again
        assert store.records == {}
