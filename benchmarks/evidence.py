"""Draw docs/evidence.md from the records: a row for every claim of the paper and every study of it.

    python benchmarks/evidence.py

What decides a row was fixed before the runs, in docs/decisions/0012-first-studies.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dualadam.compare import stats
from dualadam.compare.execution import read_records
from dualadam.compare.spec import Spec
from dualadam.compare.summary import BOOTSTRAP_SEED, ArmSummary, Summary, summarise

ROOT = Path(__file__).resolve().parents[1]
RECORDS, PAGE = ROOT / "benchmarks" / "records", ROOT / "docs" / "evidence.md"
STUDIES = {  # name of the spec -> name on the page
    "digits_study": "digits",
    "fashion-mnist_study": "Fashion-MNIST, 6,000 images",
    "cifar10_study": "CIFAR-10, 10,000 images",
}
# rows of claims 1 to 3 of these studies are rows of claim 7
LANGUAGE = {"rotten-tomatoes_study": "Rotten Tomatoes, MiniLM"}
REGIME, ESCAPE, NETWORKS = "fashion-mnist_regime", "escape", "escape-networks"
REGIME_TITLE = "Fashion-MNIST, 2,000 images"
CLAIMS = {
    1: "DualAdam generalises better than Adam",
    2: "DualAdam generalises better than AdamW, NAdam and RAdam",
    3: "DualAdam generalises better than its control, Adam or AdamW with a warm-up",
    4: "DualAdam ends in flatter minima",
    5: "InvAdam leaves sharp minima sooner",
    6: "InvAdam alone has trouble converging",
    7: "DualAdam improves fine-tuned language models",
    8: "Where does the inverse part begin to matter?",
}
WORDS = {
    "better": "held",
    "worse": "not held",
    "equivalent": "equivalent",
    "not decided": "not decided",
}
NEAR_BEST = 1.0  # percentage points below an arm's best that still count as near it


@dataclass(frozen=True)
class Row:
    """One line of the page."""

    claim: int
    study: str
    comparison: str
    result: str
    verdict: str


def find(name: str) -> Path | None:
    """Return the newest record of a study, or None."""
    return max(RECORDS.glob(f"????-??-??_{name}"), default=None)


def load(folder: Path) -> Summary:
    """Return the summary of a recorded comparison."""
    return summarise(
        Spec.model_validate_json((folder / "spec.json").read_text()),
        read_records(folder),
    )


def shown(interval: stats.Interval, unit: str = " points", digits: int = 2) -> str:
    """Return an interval as the page shows it; one that contains 0 says so."""
    mean, low, high = (
        round(x, digits) + 0.0 for x in (interval.mean, interval.low, interval.high)
    )  # no -0.00
    zero = "; contains 0" if interval.low <= 0 <= interval.high else ""
    return (
        f"{mean:+.{digits}f}{unit} [{low:+.{digits}f}, {high:+.{digits}f}], n = {interval.n}{zero}"
    )


def minus(first: str, second: str) -> str:
    """Return the name of the difference of two arms."""
    return f"{bracketed(first)} - {bracketed(second)}"


def over(first: str, second: str) -> str:
    """Return the name of the ratio of two arms."""
    return f"{bracketed(first)} / {bracketed(second)}"


def bracketed(name: str) -> str:
    """Return a name in brackets if it has several words."""
    return f"({name})" if " " in name else name


def difference(first: ArmSummary, second: ArmSummary) -> stats.Difference:
    """Return first - second on the test split, paired over the judged seeds."""
    return stats.paired_difference(
        first.scores, second.scores, np.random.default_rng(BOOTSTRAP_SEED)
    )


def rivals(study: str, summary: Summary) -> Iterator[Row]:
    """Claims 1 and 2: DualAdam against every plain optimizer of its block, Holm-adjusted."""
    pairs = [
        (dual, other)
        for dual in summary.arms
        if dual.optimizer == "DualAdam"
        for other in summary.arms
        if other.block == dual.block and other.optimizer in ("Adam", "AdamW", "NAdam", "RAdam")
    ]
    differences = [difference(*pair) for pair in pairs]
    for (dual, other), d, p in zip(
        pairs, differences, stats.holm([d.p for d in differences]), strict=True
    ):
        verdict = stats.verdict(d, summary.spec.primary.margin)
        if verdict in ("better", "worse") and p >= 1 - stats.LEVEL:
            verdict = "not decided"
        comparison = f"{minus('DualAdam', other.arm)}, {dual.block}"
        yield Row(
            1 if other.optimizer == "Adam" else 2,
            study,
            comparison,
            f"{shown(d)}; Holm p = {p:.3f}",
            WORDS[verdict],
        )


def controls(study: str, summary: Summary) -> Iterator[Row]:
    """Claim 3, by its own interval, and claim 6: InvAdam - control, and its diverged points."""
    arms = {(row.block, row.arm): row for row in summary.arms}
    for row in summary.arms:
        reference = arms[row.block, summary.control[row.block]]
        if row.optimizer == "DualAdam":
            d = difference(row, reference)
            primary = ", primary" if row is summary.primary else ""
            margin = f"; margin {summary.spec.primary.margin:g}"
            yield Row(
                3,
                study,
                f"{minus('DualAdam', reference.arm)}, {row.block}{primary}",
                shown(d) + margin,
                WORDS[stats.verdict(d, summary.spec.primary.margin)],
            )
        if row.optimizer == "InvAdam":
            d = difference(row, reference)
            points = (
                f"; {row.diverged_points} of {row.num_points} points "
                f"and {row.diverged} of {d.n} judged runs diverged"
            )
            verdict = {"worse": "held", "better": "not held"}.get(
                stats.verdict(d, summary.spec.primary.margin), "not decided"
            )
            yield Row(
                6,
                study,
                f"{minus('InvAdam', reference.arm)}, {row.block}",
                shown(d) + points,
                verdict,
            )


def flatter(study: str, summary: Summary) -> Iterator[Row]:
    """Claim 4: paired ratios of the measures of flatness, over the seeds that have both."""
    for dual in (row for row in summary.arms if row.optimizer == "DualAdam" and row.flatness):
        for other in summary.arms:
            if other.block != dual.block or other.optimizer not in (
                "Adam",
                "AdamW",
                "Adam+warmup",
                "AdamW+warmup",
            ):
                continue
            for measure, name in (
                ("top_eigenvalue", "largest eigenvalue"),
                ("adaptive_sharpness", "adaptive SAM sharpness"),
            ):
                logs = list(log_ratios(dual, other, measure))
                if len(logs) < 2:
                    continue
                d = stats.mean_interval(logs)
                low, mean, high = (float(np.exp(x)) for x in (d.low, d.mean, d.high))
                verdict = "held" if high < 1 else "not held" if low > 1 else "not decided"
                one = "; contains 1" if low <= 1 <= high else ""
                result = f"{mean:.2f} [{low:.2f}, {high:.2f}], n = {d.n}{one}"
                rates = f"lr {dual.setting['lr']:.2g} / {other.setting['lr']:.2g}"
                yield Row(
                    4,
                    study,
                    f"{name}, {over(dual.arm, other.arm)}, {dual.block}, {rates}",
                    result,
                    verdict,
                )


def log_ratios(first: ArmSummary, second: ArmSummary, measure: str) -> Iterator[float]:
    """Return ln(first / second) of every seed in which both have the measure."""
    for a, b in zip(first.judged, second.judged, strict=True):
        values = [getattr(r.flatness, measure, None) for r in (a, b)]
        if all(v is not None and v > 0 for v in values):
            yield float(np.log(values[0] / values[1]))


def regime(summary: Summary) -> Iterator[Row]:
    """Claim 8: the factor from which on a hand-over differs from its control, then every factor.

    All but the primary comparison are Holm-adjusted.
    """
    arms = {(row.block, row.arm): row for row in summary.arms}
    rows = [row for row in summary.arms if row.optimizer == "DualAdam"]

    def factor(row: ArmSummary) -> float:
        return float(row.judged[0].run.loss_scale)

    for block in dict.fromkeys(row.block for row in rows):
        mine = sorted((row for row in rows if row.block == block), key=factor)
        different = [
            row
            for row in mine
            if row.difference and not row.difference.low <= 0 <= row.difference.high
        ]
        adjusted = [row for row in different if row.verdict in ("better", "worse")]
        first, sure = (
            f"{factor(found[0]):g}" if found else "none" for found in (different, adjusted)
        )
        result = (
            f"smallest factor whose interval excludes 0: {first}; "
            f"Holm-adjusted, and beyond the margin: {sure}"
        )
        verdict = "held" if adjusted else "not decided"
        yield Row(8, REGIME_TITLE, f"the inverse part begins to matter, {block}", result, verdict)
    for row in rows:
        d = row.difference
        assert d is not None
        holm = "; primary" if row is summary.primary else f"; Holm p = {d.p_holm:.3f}"
        diverged = (
            f"; {row.diverged_points} of {row.num_points} points diverged"
            if row.diverged_points
            else ""
        )
        control = arms[row.block, summary.control[row.block]]
        yield Row(
            8,
            REGIME_TITLE,
            f"{minus(row.arm, control.arm)}, {row.block}",
            shown(d) + holm + diverged,
            row.verdict,
        )


def escapes(folder: Path) -> Iterator[Row]:
    """Claim 5, on model landscapes: slopes, InvAdam's selectivity, its time at Adam's lr."""
    rows = json.loads((folder / "record.json").read_text())["rows"]
    slopes = [r for r in rows if r["table"] in ("slopes", "mixture")]
    held = sum(r["verdict"] == "held" for r in slopes)
    verdict = "held" if held == len(slopes) else "not held"
    yield Row(
        5,
        "escape",
        "slopes of the exponent within 4 % of quadrature",
        f"{held} of {len(slopes)}",
        verdict,
    )

    def one(label: str) -> tuple[float, float, float]:
        r = next(r for r in rows if r["label"] == label)
        return (
            r["simulated"],
            r["simulated"] - 1.96 * r["error"],
            r["simulated"] + 1.96 * r["error"],
        )

    slope, low, high = one("InvAdam against curvature H")
    result = f"{slope:.3f} [{low:.3f}, {high:.3f}] where theory has -1.5 and Adam -0.5"
    yield Row(
        5,
        "escape",
        "InvAdam's slope against curvature is steeper than Adam's",
        result,
        "held" if high < -0.5 else "not held",
    )
    (inverse, low, high), (adam, _, adam_high) = (
        one(f"{name}, ln(tau flat / tau sharp)") for name in ("InvAdam", "Adam")
    )
    result = f"ln(tau flat / tau sharp) {inverse:.2f} [{low:.2f}, {high:.2f}], Adam {adam:.2f}"
    yield Row(
        5,
        "escape",
        "InvAdam tells sharp from flat better than Adam",
        result,
        "held" if low > adam_high else "not held",
    )
    slower, low, high = one("v = 0.5, ln(tau InvAdam / tau Adam)")
    result = f"ln(tau InvAdam / tau Adam) {slower:+.2f} [{low:+.2f}, {high:+.2f}]"
    comparison = "InvAdam leaves sooner than Adam at equal learning rate, v = 0.5"
    yield Row(5, "escape", comparison, result, "held" if high < 0 else "not held")


def networks(folder: Path) -> Iterator[Row]:
    """Claim 5, on a real network: slopes of the exponent, and InvAdam - Adam, as recorded."""
    for claim in json.loads((folder / "claims.json").read_text())["claims"]:
        wanted = claim["table"] == "slope of the exponent against H" or claim["label"].startswith(
            "InvAdam - Adam"
        )
        if wanted and "InvAdam" in claim["label"]:
            zero = "; contains 0" if claim["low"] <= 0 <= claim["high"] else ""
            interval = f"{claim['value']:+.2f} [{claim['low']:+.2f}, {claim['high']:+.2f}]"
            result = f"{interval}{zero}; theory {claim['theory']:+.1f}"
            yield Row(5, "network", f"{claim['table']}, {claim['label']}", result, claim["verdict"])


def sensitivity(summary: Summary) -> Iterator[str]:
    """Yield, per arm, the learning rates within a point of its best on the validation split."""
    for row in summary.arms:
        scores = [t.score for t in row.tuning]
        lrs = [t.setting["lr"] for t in row.tuning if t.score >= max(scores) - NEAR_BEST]
        near, rates = f"{len(lrs)} of {len(scores)}", f"{min(lrs):.2g} ... {max(lrs):.2g}"
        yield f"| {summary.label(row)} | {near} | {rates} | {row.diverged_points} |"


def rows_and_studies() -> tuple[list[Row], dict[str, Summary], dict[str, Path]]:
    """Return every row, the summaries of the comparisons, and the folders of all records used."""
    rows: list[Row] = []
    summaries: dict[str, Summary] = {}
    folders: dict[str, Path] = {}
    for name, title in STUDIES.items():
        if folder := find(name):
            folders[title], summaries[title] = folder, load(folder)
            for speak in (rivals, controls, flatter):
                rows += speak(title, summaries[title])
    for name, title in LANGUAGE.items():
        if folder := find(name):
            folders[title], summaries[title] = folder, load(folder)
            for row in (*rivals(title, summaries[title]), *controls(title, summaries[title])):
                rows.append(row if row.claim == 6 else replace(row, claim=7))
    if folder := find(REGIME):
        folders[REGIME_TITLE], summaries[REGIME_TITLE] = folder, load(folder)
        rows += regime(summaries[REGIME_TITLE])
    if folder := find(ESCAPE):
        folders["escape"] = folder
        rows += escapes(folder)
    if folder := find(NETWORKS):
        folders["network"] = folder
        rows += networks(folder)
    return sorted(rows, key=lambda row: row.claim), summaries, folders


def render() -> str:
    """Return the page."""
    rows, summaries, folders = rows_and_studies()
    spoken = {row.claim for row in rows}
    rows += [Row(claim, "-", "-", "-", "not run") for claim in CLAIMS if claim not in spoken]
    lines = [INTRODUCTION]
    for claim, text in CLAIMS.items():
        lines += [
            f"## {claim}. {text}",
            "",
            "| Study | Comparison | Result, 95 % interval | Verdict |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| {linked(r.study, folders)} | {r.comparison} | {r.result} | **{r.verdict}** |"
            for r in rows
            if r.claim == claim
        ]
        lines += ["", *([NOTES[claim]] if claim in NOTES and claim in spoken else [])]
    lines += [SENSITIVITY]
    for title, summary in summaries.items():
        lines += [
            f"### {title}",
            "",
            "| Arm | Points near its best | Their learning rates | Diverged points |",
            "|---|---|---|---|",
            *sensitivity(summary),
            "",
        ]
    return "\n".join(lines).rstrip() + "\n"


def linked(study: str, folders: dict[str, Path]) -> str:
    """Return a study's name as a link to its record."""
    if study not in folders:
        return study
    page = next(
        (name for name in ("report.md", "README.md") if (folders[study] / name).exists()), ""
    )
    return f"[{study}](../{(folders[study] / page).relative_to(ROOT)})"


INTRODUCTION = """\
# Evidence

This page has a row for every claim of the paper and every study of it.
`python benchmarks/evidence.py` draws it from the records.
What decides a row was [fixed before the runs](decisions/0012-first-studies.md), under the
[rules of evidence](../CONTRIBUTING.md#the-rules-of-evidence).

* Differences are percentage points of test accuracy over paired seeds.
* Each arm has its own tuned setting.
* *Held*, *not held* and *not decided* say what the interval says about the claim.
* *Equivalent* means that the whole interval is within the study's margin.
* An interval that contains 0 says so.
"""
NOTES = {
    3: """\
Where gradients are small, DualAdam is Adam with this warm-up.
The comparison with it shows whether the inverse part has any effect.
""",
    4: """\
Each arm is measured at its own tuned setting.
Another learning rate alone changes the curvature.
Ratios below 1 are flatter.
""",
    5: """\
The shipped optimizers were used: on model landscapes in the study "escape", and from 30 minima of
one small network in the study "network".
The derivation and all numbers are on the page on [theory](theory.md).
In real training v is between 1e-7 and 1e-3, far below 1.
""",
    7: """\
The encoder and the budget are small (22.7 million parameters, 1,024 texts in 64 steps).
No large language model was fine-tuned in full.
""",
    8: """\
A factor in front of the loss does not change Adam: one control at factor 1 serves each hand-over.
""",
}
SENSITIVITY = f"""\
## How sensitive is the learning rate?

The tables count the tuned points whose validation accuracy is within {NEAR_BEST:g} point of the
arm's best, out of eight points that all arms share.
InvAdam has its own range.
There are no intervals.
"""


if __name__ == "__main__":
    PAGE.write_text(render())
    print(f"Written: {PAGE}")
