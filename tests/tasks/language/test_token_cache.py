"""The cache of tokens has whole files, or none."""

from __future__ import annotations

import pytest
from language_cases import random_sequences

from dualadam.tasks.language.token_cache import cached_sequences


def test_tokens_are_made_once_per_key_and_come_back_as_they_were(tmp_path):
    calls = []

    def make():
        calls.append(1)
        return random_sequences(5)

    first, second = (
        cached_sequences(tmp_path, ["a", 1], make),
        cached_sequences(tmp_path, ["a", 1], make),
    )
    assert len(calls) == 1
    assert [second[k].tolist() for k in range(5)] == [first[k].tolist() for k in range(5)]
    assert (second.prompts.tolist(), second.num_truncated) == (
        first.prompts.tolist(),
        first.num_truncated,
    )
    cached_sequences(tmp_path, ["a", 2], make)
    assert len(calls) == 2
    assert sorted(f.suffix for f in (tmp_path / "tokens").iterdir()) == [
        ".npz",
        ".npz",
    ]  # nothing half-written is left


@pytest.mark.parametrize("keep", [0, 10, 400])
def test_a_damaged_file_is_made_again(tmp_path, keep):
    make = lambda: random_sequences(5)  # noqa: E731
    first = cached_sequences(tmp_path, ["a"], make)
    (file,) = (tmp_path / "tokens").iterdir()
    whole = file.read_bytes()
    file.write_bytes(whole[:keep])
    assert cached_sequences(tmp_path, ["a"], make).tokens.tolist() == first.tokens.tolist()
    assert file.stat().st_size == len(whole)
