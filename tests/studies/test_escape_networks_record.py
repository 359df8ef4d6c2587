"""The recorded study: its rows still give its claims, facts and tables."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from dualadam.harness.store import read_lines
from dualadam.studies.escape_networks import Claim, Settings, all_claims, read_rows
from dualadam.studies.escape_networks.facts import collect_facts
from dualadam.studies.escape_networks.network import NetworkProblem
from dualadam.studies.escape_networks.report import markdown
from dualadam.studies.escape_networks.samples import escape_samples
from dualadam.studies.escape_networks.study import row_of

RECORD = Path(__file__).parents[2] / "benchmarks/records/2026-11-24_escape-networks"


@pytest.fixture(scope="module")
def record():
    return json.loads((RECORD / "claims.json").read_text())


@pytest.fixture(scope="module")
def settings(record):
    stored = record["settings"]
    problem = NetworkProblem(**stored["problem"])
    temperatures = tuple(stored["temperatures"])
    return Settings(**{**stored, "problem": problem, "temperatures": temperatures})


def test_every_line_is_read_and_written_again_with_the_same_keys_and_values():
    lines = list(read_lines(RECORD / "rows.jsonl", dict))
    written = [json.loads(json.dumps(row_of(line).to_json())) for line in lines]
    assert written == lines


def test_settings_have_the_recorded_keys_so_that_an_earlier_study_continues(record, settings):
    assert json.loads(json.dumps(asdict(settings))) == record["settings"]


def test_the_rows_give_every_number_and_verdict_of_the_recorded_claims(record, settings):
    recorded = [Claim.from_json(content) for content in record["claims"]]
    drawn = all_claims(read_rows(RECORD), settings)
    assert len(drawn) == len(recorded) == 35
    for ours, theirs in zip(drawn, recorded, strict=True):
        assert (ours.table, ours.label, ours.verdict, ours.note) == (
            theirs.table,
            theirs.label,
            theirs.verdict,
            theirs.note,
        )
        # fits stop at a gradient of 1e-4; the last digits differ between processors
        numbers = (theirs.theory, theirs.value, theirs.low, theirs.high)
        assert (ours.theory, ours.value, ours.low, ours.high) == pytest.approx(numbers, abs=1e-3)


def test_the_rows_give_the_recorded_facts(record, settings):
    rows = read_rows(RECORD)
    facts = collect_facts(rows, escape_samples(rows.minima, rows.escapes, settings))
    drawn = json.loads(json.dumps(asdict(facts)))
    assert drawn.keys() == record["facts"].keys()
    for name, value in record["facts"].items():
        assert drawn[name] == pytest.approx(value), name
    assert facts.escapes > 100


def test_the_recorded_tables_are_those_of_the_recorded_claims(record):
    claims = [Claim.from_json(content) for content in record["claims"]]
    assert markdown(claims, record["facts"]) == (RECORD / "tables.md").read_text()
