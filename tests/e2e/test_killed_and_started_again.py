"""A study that is killed goes on, ends with the same numbers and leaves no process behind."""

import contextlib
import io
import itertools
import os
import pty
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from compare_cases import LONGER, NUM_RUNS, by_key, command, environment, finished, run_command

from dualadam.compare.execution import read_records

# jax, which other tests load into this process, warns of the fork that preexec_fn makes
pytestmark = pytest.mark.filterwarnings(r"ignore:os\.fork\(\) was called:RuntimeWarning")
PATIENCE = 90.0  # seconds until a test gives up; everything here takes a few
END = 20.0  # seconds that a process may take to end; on an idle machine it takes one or two


@dataclass
class Stage:
    """The outcome of one start of the command."""

    status: int
    output: str  # of both streams
    seconds: float  # from the blow to the end
    left_behind: list[int]  # processes that lived END seconds longer
    kept: list[bytes] = field(default_factory=list)  # lines on disk afterwards


def children_of(pid: int) -> list[int]:
    """All living descendants."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:  # it ended while we looked
                continue
            if state != "Z":
                parents[int(entry.name)] = int(parent)
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return found[1:]


def wait_for(condition, what: str):
    deadline = time.monotonic() + PATIENCE
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.01)
    return value


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


class Story:
    """One output folder and what happened to it."""

    def __init__(self, folder: Path) -> None:
        self.spec, self.out = folder / "longer.toml", folder / "out"
        self.spec.write_text(LONGER)

    def lines(self) -> list[bytes]:
        path = self.out / "runs.jsonl"
        return path.read_bytes().splitlines(keepends=True) if path.exists() else []

    def start(self, blow, *, new_lines: int, workers: int = 2, terminal: bool = False) -> Stage:
        """Start the command, wait for workers and for new lines, strike, and watch the end."""
        before = len(self.lines())
        ours, theirs = pty.openpty() if terminal else os.pipe()
        process = subprocess.Popen(
            command("compare", self.spec, "--out", self.out, "--workers", workers),
            env={**environment(), "TERM": "xterm"},
            stdin=theirs if terminal else subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=(lambda: _take_terminal(theirs)) if terminal else None,
        )
        os.close(theirs)
        output = bytearray()
        reader = threading.Thread(target=_drain, args=(ours, output))
        reader.start()
        family: list[int] = []
        if blow:
            family = wait_for(
                lambda: [c for c in children_of(process.pid) if _is_worker(c)], "a worker"
            )
            wait_for(lambda: len(self.lines()) >= before + new_lines, "finished runs")
            family = children_of(process.pid)
            blow(process.pid, ours)
        struck = time.monotonic()
        status = process.wait(PATIENCE)
        seconds = time.monotonic() - struck
        deadline = time.monotonic() + END
        while any(map(is_alive, family)) and time.monotonic() < deadline:
            time.sleep(0.01)
        left_behind = [pid for pid in family if is_alive(pid)]
        reader.join(PATIENCE)
        os.close(ours)
        return Stage(status, output.decode(errors="replace"), seconds, left_behind, self.lines())


def _take_terminal(descriptor: int) -> None:
    import fcntl
    import termios

    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)


def _is_worker(pid: int) -> bool:
    try:
        return b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def _kill_worker(pid: int, _) -> None:
    os.kill(next(filter(_is_worker, children_of(pid))), signal.SIGKILL)


def _drain(descriptor: int, output: bytearray) -> None:
    while True:
        try:
            chunk = os.read(descriptor, 65536)
        except OSError:  # how a pseudo terminal says that the other side is gone
            return
        if not chunk:
            return
        output += chunk


@pytest.fixture(scope="module")
def story(tmp_path_factory) -> dict[str, Stage]:
    """One study, struck five times; each stage goes on from what the one before left."""
    story = Story(tmp_path_factory.mktemp("story"))
    stages = {
        "interrupted while starting": story.start(
            lambda pid, _: os.killpg(pid, signal.SIGINT), new_lines=0
        ),
        "killed": story.start(lambda pid, _: os.kill(pid, signal.SIGKILL), new_lines=2),
        "worker killed": story.start(_kill_worker, new_lines=2, workers=1),
        "Ctrl-C": story.start(
            lambda _, terminal: os.write(terminal, b"\x03"), new_lines=2, terminal=True
        ),
    }
    path = story.out / "runs.jsonl"
    # a power failure cuts a line off
    path.write_bytes(path.read_bytes() + stages["Ctrl-C"].kept[0][:300])
    stages["to the end"] = story.start(None, new_lines=0)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        status = run_command("compare", story.spec, "--out", story.out)
    stages["once more"] = Stage(status, output.getvalue(), 0.0, [], story.lines())
    return stages


def test_it_ends_with_the_numbers_of_a_study_that_nothing_happened_to(story, tmp_path):
    end = story["to the end"]
    assert end.status == 0, end.output
    (tmp_path / "runs.jsonl").write_bytes(b"".join(end.kept))
    assert by_key(read_records(tmp_path)) == by_key(finished(LONGER)[1])
    assert len(end.kept) == NUM_RUNS  # none lost, none twice


@pytest.mark.parametrize(
    "blow", ["interrupted while starting", "killed", "worker killed", "Ctrl-C"]
)
def test_no_process_is_left_behind(story, blow):
    assert story[blow].left_behind == []


def test_every_start_keeps_what_was_there(story):
    stages = list(story.values())
    for earlier, later in itertools.pairwise(stages):
        whole = [line for line in earlier.kept if line.endswith(b"\n")]
        assert later.kept[: len(whole)] == whole
    assert len(stages[-2].kept) == len(stages[-1].kept)


@pytest.mark.parametrize("blow", ["interrupted while starting", "Ctrl-C"])
def test_ctrl_c_ends_it_before_its_runs_with_a_message_on_how_to_go_on(story, blow):
    stage = story[blow]
    assert stage.status == 130
    assert len(stage.kept) < NUM_RUNS
    assert stage.seconds < END
    said = " ".join(stage.output.split())
    assert "Stopped. " in said
    assert "finished runs are in" in said
    assert "goes on from there." in said
    assert "Traceback" not in stage.output


def test_a_worker_that_dies_fails_its_run_alone_with_status_1(story):
    stage = story["worker killed"]
    assert stage.status == 1
    assert "dualadam: 1 of 6 runs failed:" in stage.output
    memory = "as the system does where memory runs out."
    assert f"its process was ended by SIGKILL, {memory}" in stage.output
    assert "Traceback" not in stage.output


def test_sigkill_is_what_it_was(story):
    assert story["killed"].status == -signal.SIGKILL


def test_a_terminal_shows_a_bar_with_what_is_running_and_the_time_left(story):
    output = story["Ctrl-C"].output
    for part in ("Running", "━", f"/{NUM_RUNS}", "left", "point "):
        assert part in output


def test_without_a_terminal_there_are_plain_lines_and_then_the_table(story):
    output = " ".join(story["to the end"].output.split())  # a long sentence is folded
    assert "\x1b" not in output
    assert f"of {NUM_RUNS} runs are on disk already." in output
    assert f"{NUM_RUNS}/{NUM_RUNS} runs, about 0 s left; last: " in output
    table, sentence, last = (
        output.index("Difference"),
        output.index("3 paired seeds"),
        output.index("Report: "),
    )
    assert table < sentence < last


def test_a_finished_study_is_only_reported(story):
    stage = story["once more"]
    assert stage.status == 0
    assert f"{NUM_RUNS} of {NUM_RUNS} runs are on disk already." in stage.output
