"""The report of a study: claims.json with its environment, tables.md and the figures."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import matplotlib

from dualadam.harness.environment import study_environment
from dualadam.harness.figures import STYLE
from dualadam.harness.store import write_whole, writing
from dualadam.studies.escape_networks.against_curvature import curvature_claims, escapes_figure
from dualadam.studies.escape_networks.claims import Claim
from dualadam.studies.escape_networks.facts import collect_facts
from dualadam.studies.escape_networks.noise import noise_claims, noise_figure
from dualadam.studies.escape_networks.paired_slopes import paired_claims, slopes_figure
from dualadam.studies.escape_networks.samples import escape_samples
from dualadam.studies.escape_networks.settings import Settings
from dualadam.studies.escape_networks.study import StudyRows

REPORT_FILES = ("tables.md", "claims.json", "escapes.png", "slopes.png", "noise.png")


def all_claims(rows: StudyRows, settings: Settings) -> list[Claim]:
    """Return every claim of a finished study."""
    samples = escape_samples(rows.minima, rows.escapes, settings)
    return [
        *noise_claims(rows.minima, rows.regressions),
        *curvature_claims(samples),
        *paired_claims(samples, settings),
    ]


def write_report(folder: Path, rows: StudyRows, settings: Settings) -> list[Claim]:
    """Write REPORT_FILES into a folder, and return the claims.

    Args:
        folder: an existing folder.
        rows: of a finished study.
        settings: of the study.

    Raises:
        UnreachableError: a file cannot be written.
    """
    samples = escape_samples(rows.minima, rows.escapes, settings)
    claims, facts = all_claims(rows, settings), asdict(collect_facts(rows, samples))
    record = {
        "environment": study_environment(),
        "settings": asdict(settings),
        "facts": facts,
        "claims": [claim.to_json() for claim in claims],
    }
    write_whole(folder / "claims.json", json.dumps(record, indent=1, allow_nan=False) + "\n")
    write_whole(folder / "tables.md", markdown(claims, facts))
    with matplotlib.rc_context(STYLE), writing(folder):
        escapes_figure(samples).savefig(folder / "escapes.png", dpi=110)
        slopes_figure(claims, settings).savefig(folder / "slopes.png", dpi=110)
        noise_figure(rows.minima, rows.regressions).savefig(folder / "noise.png", dpi=110)
    return claims


def markdown(claims: Sequence[Claim], facts: Mapping[str, Any]) -> str:
    """Return the tables, one section each, and the facts by name."""
    lines = ["# Escape from the minima of a network: theory and measurement", ""]
    for table in dict.fromkeys(claim.table for claim in claims):
        lines += [
            f"## {table[0].upper()}{table[1:]}",
            "",
            "| | theory | measured | 95 % interval | verdict | |",
            "|---|---|---|---|---|---|",
            *(_table_line(claim) for claim in claims if claim.table == table),
            "",
        ]
    facts_lines = (f"* {name.replace('_', ' ')}: {_shown(value)}" for name, value in facts.items())
    return "\n".join([*lines, "## Facts", "", *facts_lines]) + "\n"


def _table_line(claim: Claim) -> str:
    return (
        f"| {claim.label} | {claim.theory:.2f} | {claim.shown_value} | {claim.shown_interval} "
        f"| **{claim.verdict}** | {claim.note} |"
    )


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_shown(item)}" for name, item in value.items())
    if isinstance(value, list | tuple):
        return " to ".join(map(_shown, value))
    return f"{value:.3g}" if isinstance(value, float) else f"{value:,}"
