"""A spec of any size and depth is read, or refused at once with a short message."""

import re
import time

import pytest
from compare_cases import DIGITS, TINY, run_command

from dualadam.compare.check import check_spec
from dualadam.compare.spec_file import SpecError, load_spec, parse_spec
from dualadam.compare.spec_text import SpecText
from dualadam.compare.toml import read_toml

DEEP = "at most 32 levels are read."
LARGE = "must have at most 1,000,000 characters"
LONG = "x" * 900_000
# what a spec begins or ends with -> a part of the message
HEAVY = [
    ("x" * 10_000_000 + " = 1\n", "", LARGE),
    (".".join("a" * 200_000) + " = 1\n", "", f"line 1 is nested too deeply: {DEEP}"),
    ("", f"\n[{'.'.join('a' * 100_000)}]\nx = 1", "nested too deeply"),
    ("", "\nx = " + "[" * 100_000 + "]" * 100_000, "nested too deeply"),
    ("", "\nx = " + "{a=" * 100_000 + "1" + "}" * 100_000, "nested too deeply"),
    ('"""\n' + '\\"' * 400_000, "", "is not TOML"),
    ('"' + "\\" * 900_000, "", "is not TOML"),
    (LONG + " = 1\n", "", "xxx... is not a key of a spec; known: name, title"),
]


@pytest.mark.parametrize(("before", "after", "part"), HEAVY)
def test_a_heavy_text_is_refused_with_a_short_message_without_parsing_it(before, after, part):
    started = time.process_time()
    with pytest.raises(SpecError) as error:
        parse_spec(before + DIGITS + after)
    assert part in str(error.value)
    assert len(str(error.value)) < 600
    # the parser would need from 10 seconds to for ever; this bound holds on any machine
    assert time.process_time() - started < 8


@pytest.mark.parametrize("old", ['"digits"\nmodel', '"small-cnn"', '"DualAdam"', '"RAdam"\ntune'])
def test_a_long_value_is_cut_in_the_message(old):
    text = DIGITS.replace(old, f'"{LONG}"' + old.partition("\n")[2].join(("\n", "")), 1)
    with pytest.raises(SpecError) as error:
        check_spec(parse_spec(text), SpecText(text))
    assert len(str(error.value)) < 2500
    assert "xxx ... xxx" in str(error.value) or "..." in str(error.value)


def test_of_three_thousand_mistakes_twenty_are_named_and_all_are_counted():
    text = "".join(f"k{i} = 1\n" for i in range(3000)) + DIGITS
    with pytest.raises(SpecError) as error:
        parse_spec(text)
    lines = str(error.value).splitlines()
    assert lines[0].startswith("spec, line 1: k0 is not a key of a spec")
    assert lines[19].startswith("spec, line 20: k19 is not a key of a spec")
    assert lines[20:] == ["spec has 2,980 more mistakes."]


def test_dots_and_brackets_in_strings_and_comments_are_no_levels():
    text = 'a = "[[[' + "." * 99 + '\\""  # [[[' + "[" * 99 + "\nb = '''" + "{\n" * 99 + "'''\n"
    text += 'c = """\\"""' + "[" * 99 + '"""\n' + "d = [" + "1.5, " * 99 + "]\n"
    assert read_toml(text, "x").keys() == set("abcd")


def test_a_byte_order_mark_is_no_mistake(tmp_path):
    file = tmp_path / "study.toml"
    file.write_bytes(b"\xef\xbb\xbf" + TINY.encode())
    assert load_spec(file) == parse_spec("\ufeff" + TINY) == parse_spec(TINY)


def test_a_large_file_is_refused_before_it_is_read(tmp_path):
    file = tmp_path / "study.toml"
    with file.open("wb") as written:
        written.truncate(10**12)  # a hole: no disk holds it
    with pytest.raises(SpecError, match=LARGE):
        load_spec(file)


@pytest.mark.parametrize(
    "options",
    [
        ["--set", "x=" + "[" * 50_000],
        ["--set", "x=" + "{a=" * 20_000],
        ["--set", "x" * 100_000],
        ["--set", "seeds=" + "'" + "x" * 100_000 + "'"],
        ["--arm", "x" * 100_000],
        ["--lr", "x" * 100_000],
    ],
)
def test_a_heavy_option_is_refused_with_a_short_message(options, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("def make(run): pass\n")
    arguments = ["compare", "--problem", "mine.py:make", "--steps", "9", "--lr", "0.1", *options]
    assert run_command(*arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("dualadam: ")
    assert len(err) < 3000


def test_a_long_name_of_a_training_is_refused_with_a_short_message(capsys):
    for name in ("x" * 100_000, "x" * 100_000 + ".py:make", "mine.py:" + "x" * 100_000):
        assert run_command("compare", "--problem", name, "--steps", "9", "--lr", "0.1") == 2
        err = capsys.readouterr().err
        assert err.startswith("dualadam: ")
        assert len(err) < 3000


def test_a_dry_run_of_sixty_million_runs_counts_them(tmp_path, capsys):
    file = tmp_path / "study.toml"
    text = re.sub(r"(?m)^tuning_seeds = 1$", "tuning_seeds = 1000", DIGITS)
    file.write_text(text.replace("points = 8", "points = 10000"))
    assert run_command("compare", file, "--dry-run") == 0
    out = capsys.readouterr().out
    assert "60,000,000 tuning runs, then 30 judged runs" in out
    assert "and 9,980 more" in out
    assert len(out) < 20_000
