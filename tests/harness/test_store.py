"""A store loses no finished record, whatever ends the process, and has one writer."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import dualadam
from dualadam.errors import FailedRunsError, InvalidValueError, UnreachableError
from dualadam.harness.store import Store, check_identity, read_lines, sole_writer, write_whole

Point = tuple[str, float]


def decode(line: dict) -> Point:
    return line["name"], float(line["value"])


def store_at(path: Path) -> Store[Point]:
    return Store(
        path,
        encode=lambda point: {"name": point[0], "value": point[1]},
        decode=decode,
        key=lambda point: point[0],
    )


@pytest.fixture
def path(tmp_path):
    """A file with the records a and b."""
    store = store_at(tmp_path / "points.jsonl")
    store.add(("a", 1.0))
    store.add(("b", 2.0))
    return store.path


def test_records_come_back_in_the_order_of_the_file(path):
    assert list(store_at(path).records.items()) == [("a", ("a", 1.0)), ("b", ("b", 2.0))]
    assert list(read_lines(path, decode)) == [("a", 1.0), ("b", 2.0)]


def test_a_file_that_does_not_exist_has_no_records_and_is_not_created(tmp_path):
    store = store_at(tmp_path / "none.jsonl")
    assert store.records == {}
    assert not store.path.exists()


def test_a_key_is_in_the_store_once_its_record_is(path):
    store = store_at(path)
    assert "a" in store
    assert "c" not in store
    store.add(("c", 3.0))
    assert "c" in store


def test_a_second_record_with_the_same_key_replaces_the_first(path):
    store_at(path).add(("a", 9.0))
    assert store_at(path).records["a"] == ("a", 9.0)


def test_add_returns_after_the_line_is_flushed_to_the_disk(path, monkeypatch):
    synced, fsync = [], os.fsync

    def spy(descriptor):
        synced.append(os.fstat(descriptor).st_size)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", spy)
    store_at(path).add(("c", 3.0))
    assert synced == [path.stat().st_size]


@pytest.mark.parametrize("torn", [b'{"name": "c", "va', b'{"name": "c", "value": 3.0}', b"\xff"])
def test_a_half_written_last_line_is_cut_off_and_the_rest_is_kept(path, torn):
    whole = path.read_bytes()
    path.write_bytes(whole + torn)
    assert list(read_lines(path, decode)) == [("a", 1.0), ("b", 2.0)]
    assert path.read_bytes() == whole + torn  # reading changes nothing
    store = store_at(path)
    assert path.read_bytes() == whole
    store.add(("c", 3.0))
    assert list(store_at(path).records) == ["a", "b", "c"]


@pytest.mark.parametrize(
    "damaged", [b"{", b"", b'{"name": "x"}', b'{"name": "x", "value": []}', b"[1]", b"\xff"]
)
def test_a_damaged_line_is_named_with_its_number(path, damaged):
    whole = path.read_bytes()
    path.write_bytes(whole + damaged + b"\n" + whole)
    with pytest.raises(
        InvalidValueError,
        match=r"points\.jsonl, line 3 is damaged \(.+\)\. Remove the line; its run will be repeat",
    ):
        store_at(path)
    assert path.read_bytes() == whole + damaged + b"\n" + whole


def test_a_full_disk_is_a_failed_run_and_loses_nothing(path):
    """A real limit on the size of files stops the write in the middle of a line."""
    whole, store = path.read_bytes(), store_at(path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(whole) + 5, before[1]))
    try:
        with pytest.raises(
            FailedRunsError,
            match=r"could not be written \(.*File too large.*\)\. Make room and start again",
        ):
            store.add(("c", 3.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "c" not in store
    assert path.read_bytes()[: len(whole) + 5] == whole + b'{"nam'
    assert list(store_at(path).records) == ["a", "b"]
    assert path.read_bytes() == whole


def test_a_number_that_json_cannot_hold_is_not_written(path):
    whole = path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        store_at(path).add(("c", float("nan")))
    assert path.read_bytes() == whole


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(UnreachableError, match="cannot be read: Is a directory"):
        store_at(tmp_path)


WRITER = """
import sys
from pathlib import Path
from dualadam.harness.store import sole_writer
with sole_writer(Path(sys.argv[1])):
    print("writing", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("end", ["leaves", "is killed"])
def test_a_second_process_is_refused_until_the_first(tmp_path, end):
    folder = tmp_path / "new" / "out"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(folder)],
        env={**os.environ, "PYTHONPATH": str(Path(dualadam.__file__).parents[1])},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert writer.stdout.readline() == "writing\n"
        with (
            pytest.raises(
                InvalidValueError,
                match=r"^Another process writes into .*out\. Wait for it, or choose another --out",
            ),
            sole_writer(folder),
        ):
            pass
        if end == "is killed":
            writer.kill()
        writer.communicate(timeout=60)
        with sole_writer(folder):
            pass
    finally:
        writer.kill()
        writer.communicate()


def test_the_lock_is_released_where_the_study_raises(tmp_path):
    with pytest.raises(ArithmeticError), sole_writer(tmp_path):
        raise ArithmeticError
    with sole_writer(tmp_path):
        pass


def test_an_output_folder_must_be_a_folder_that_can_be_created(tmp_path):
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(InvalidValueError, match=r"^--out must be a folder, but .*file is a file"):
        sole_writer(file).__enter__()
    with pytest.raises(UnreachableError, match="cannot be written: Not a directory"):
        sole_writer(file / "below").__enter__()


def identify(folder: Path, has_records: bool = True, **settings: object) -> None:
    check_identity(folder / "spec.json", settings, defaults={"added": 1}, has_records=has_records)


def test_the_same_settings_go_on_and_others_are_refused_by_name(tmp_path):
    identify(tmp_path, has_records=False, seeds=3, steps=10)
    stored = (tmp_path / "spec.json").read_bytes()
    identify(tmp_path, seeds=3, steps=10)
    with pytest.raises(
        InvalidValueError,
        match=r"holds a study with other settings \(name, steps differ\)\. Choose another --out",
    ):
        identify(tmp_path, seeds=3, steps=20, name="x")
    assert (tmp_path / "spec.json").read_bytes() == stored


def test_a_setting_that_is_newer_than_the_file_counts_with_its_default(tmp_path):
    identify(tmp_path, has_records=False, seeds=3)
    identify(tmp_path, seeds=3, added=1)
    with pytest.raises(InvalidValueError, match=r"\(added differ\)"):
        identify(tmp_path, seeds=3, added=2)


def test_settings_without_records_are_replaced(tmp_path):
    identify(tmp_path, has_records=False, seeds=3)
    identify(tmp_path, has_records=False, seeds=4)
    assert json.loads((tmp_path / "spec.json").read_text()) == {"seeds": 4}


def test_settings_are_compared_as_json_holds_them(tmp_path):
    identify(tmp_path, has_records=False, betas=(0.9, 0.999))
    identify(tmp_path, betas=(0.9, 0.999))
    identify(tmp_path, betas=[0.9, 0.999])


def test_records_without_settings_are_refused(tmp_path):
    with pytest.raises(
        InvalidValueError, match=r"holds records but no spec\.json, which says whose they are"
    ):
        identify(tmp_path, seeds=3)


@pytest.mark.parametrize("content", ["{", "[]", ""])
def test_damaged_settings_are_refused(tmp_path, content):
    (tmp_path / "spec.json").write_text(content)
    with pytest.raises(InvalidValueError, match=r"spec\.json is damaged \(.+\)\. Choose another"):
        identify(tmp_path, seeds=3)


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "report.md"
    write_whole(file, "old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, before[1]))
    try:
        with pytest.raises(UnreachableError, match=r"report\.md cannot be written: File too large"):
            write_whole(file, "new text")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert file.read_text() == "old"
    write_whole(file, "new text")
    assert file.read_text() == "new text"
    assert list(tmp_path.iterdir()) == [file]
