"""The rows of docs/evidence.md that come from the studies of decisions 41 to 43."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from evidence_comparisons import CLAIM_VERDICT, load
from evidence_flatness import flat_at_equal_loss, flat_at_equal_lr
from evidence_rows import BEHIND, MEASURED, Row, minus, shown, shown_p

from dualadam.compare import stats
from dualadam.compare.execution import read_records
from dualadam.compare.spec_file import load_study_spec
from dualadam.compare.summary import ArmSummary, Summary, summarise
from dualadam.harness.verdict import Verdict

# forms of the paper's idea: that one of them is better is a claim, which a study holds or not
IDEA = ("DualAdam", "InvAdam", "MixLong", "BoundLong", "BoundLongDirection")
SAME_SETTING = "AdamW + warm-up, at MixLong's setting"  # the arm of mix-again_cifar10
REGIME = "regime-"  # the studies whose primary comparisons are Holm-adjusted together


@dataclass(frozen=True)
class Study:
    """A study on the page.

    Attributes:
        name: of its spec.
        title: on the page.
        rows: yields its rows from its title and the folder of its record.
    """

    name: str
    title: str
    rows: Callable[[str, Path], Iterator[Row]]


def load_pair(folder: Path, arm: str, against: str) -> Summary:
    """Return the summary of a record with another primary comparison."""
    spec = load_study_spec(folder)
    primary = spec.primary.model_copy(update={"arm": arm, "against": against})
    return summarise(spec.model_copy(update={"primary": primary}), read_records(folder))


def difference(
    claim: int,
    title: str,
    summary: Summary,
    row: ArmSummary,
    *,
    flipped: bool = False,
    registered: bool = True,
) -> Row:
    """Return the row of an arm's difference from its control, as the study's report has it.

    Flipped, it is control - arm. A comparison that was not registered says so.
    """
    d, verdict = row.difference, row.verdict
    assert d is not None
    names = row.arm, summary.control[row.block]
    verdicts = {Verdict.WORSE: BEHIND} if claim == 6 else CLAIM_VERDICT
    if flipped:
        low, high = d.judged
        d = replace(d, mean=-d.mean, low=-d.high, high=-d.low, judged=(-high, -low))
        opposite = {Verdict.BETTER: Verdict.WORSE, Verdict.WORSE: Verdict.BETTER}
        names, verdict = names[::-1], opposite.get(verdict, verdict)
    is_accuracy = summary.spec.judged_by.metric.unit == "%"
    unit, digits = ("points", 2) if is_accuracy else ("nats", 4)
    p = "primary" if row is summary.primary else f"Holm p {shown_p(d.p_holm)}"
    if not registered:
        p = "not registered, not adjusted"
    low, high = d.judged
    alone = f"; seeds alone [{low:+.{digits}f}, {high:+.{digits}f}]" if d.with_choice else ""
    lost = f"; {row.diverged} of {d.n} judged runs diverged" if row.diverged else ""
    if row.diverged_points:
        lost += f"; {row.diverged_points} of {row.num_points} points diverged"
    return Row(
        claim,
        title,
        f"{minus(*names)}, {row.block}",
        f"{shown(d, f' {unit}', digits)}; {p}{alone}{lost}",
        verdicts.get(verdict, verdict) if names[0] in IDEA else verdict,
        drawn=d,
        unit=unit,
        margin=summary.margin,
    )


def differences(claim: int) -> Callable[[str, Path], Iterator[Row]]:
    """Return the rows of all arms against their control."""

    def rows(title: str, folder: Path) -> Iterator[Row]:
        summary = load(folder)
        for row in summary.arms:
            if row.difference:
                yield difference(claim, title, summary, row)

    return rows


def rivals(title: str, folder: Path) -> Iterator[Row]:
    """Each arm against the control: claim 1 has Adam, claim 3 DualAdam, claim 2 the rest."""
    summary = load(folder)
    for row in summary.arms:
        if row.difference:
            about = {"Adam": 1, "DualAdam": 3}.get(row.arm, 2)
            yield difference(about, title, summary, row, flipped=row.arm == "Adam")


def against_adam(title: str, folder: Path) -> Iterator[Row]:
    """Studies 1 and 6, and that of ResNet-18.

    Claim 1 holds both DualAdam - Adam and control - Adam, since the warm-up alone may be the gain.
    """
    summary = load_pair(folder, "DualAdam", "Adam")
    yield difference(1, title, summary, summary.primary, registered=False)
    yield from rivals(title, folder)


def again(
    claim: int, *, beside: tuple[str, str] | None = None
) -> Callable[[str, Path], Iterator[Row]]:
    """Return rows of decision 43: a lead replicates if the interval over new seeds is above 0.

    Args:
        claim: number of the section.
        beside: two arms whose difference was not registered.
    """

    def rows(title: str, folder: Path) -> Iterator[Row]:
        summary = load(folder)
        outcome = "it replicates" if replicates(summary) else "it does not replicate"
        for row in summary.arms:
            if row.difference:
                found = difference(claim, title, summary, row)
                ending = f"; {outcome}" if row is summary.primary else ""
                yield replace(found, result=found.result + ending)
        if beside:
            summary = load_pair(folder, *beside)
            yield difference(claim, title, summary, summary.primary, registered=False)

    return rows


def mixed_again(title: str, folder: Path) -> Iterator[Row]:
    """The mixed form on new seeds: its gain, then, if it replicates, what its direction gives.

    Between them, at one setting for both, what is left of the gain.
    """
    yield from again(9, beside=("MixLong", SAME_SETTING))(title, folder)
    decides = replicates(load(folder))
    summary = load_pair(folder, "MixLong", "MixLongSize")
    row = difference(9, title, summary, summary.primary)
    second = "second" if decides else "second, decides nothing"
    yield replace(row, result=row.result.replace("primary", second), decides=decides)


def equal_settings(title: str, folder: Path) -> Iterator[Row]:
    """Study 2 at one setting for all arms: claim 2 has NAdam."""
    for row in again(3)(title, folder):
        yield replace(row, claim=2) if row.comparison.startswith("(NAdam") else row


def replicates(summary: Summary) -> bool:
    """Return whether the interval of the primary comparison is above 0."""
    d = summary.primary.difference
    return d is not None and d.low > 0


def with_shares(title: str, folder: Path) -> Iterator[Row]:
    """Study 6 on Fashion-MNIST: its differences, and the shares that no schedule explains."""
    yield from against_adam(title, folder)
    for row in load(folder).arms:
        shares = [r.shadow.mean_unexplained for r in row.judged if r.shadow]
        found = stats.mean_interval([share for share in shares if share is not None])
        text = f"{found.mean:.2g} [{found.low:.2g}, {found.high:.2g}], n = {found.n}"
        name = f"share of the squared update that no schedule of Adam explains, {row.arm}"
        yield Row(10, title, name, text, MEASURED)


def characters(title: str, folder: Path) -> Iterator[Row]:
    """Study 7, and the part of study 8 that it holds."""
    for row in differences(7)(title, folder):
        yield replace(row, claim=9) if row.comparison.startswith("MixLong ") else row


def replayed(title: str, folder: Path) -> Iterator[Row]:
    """Study 9: each optimizer - Adam with its schedule."""
    summary = load(folder)
    for row in summary.arms:
        if row.difference:
            yield difference(10, title, summary, row, flipped=row.arm.startswith("Adam with "))


def mixed(title: str, folder: Path) -> Iterator[Row]:
    """Study 8: scores, then flatness where each arm ends."""
    yield from differences(9)(title, folder)
    yield from flat_at_equal_lr(9)(title, folder)


def adjusted_together(rows: list[Row], titles: set[str]) -> list[Row]:
    """Holm-adjust the primary rows of these studies together; a p of 0.05 or more is undecided.

    A study that is not finished counts with a p of 1, so that its end does not lower the others.
    """
    chosen = [k for k, row in enumerate(rows) if row.study in titles and "primary" in row.result]
    known = [float(rows[k].drawn.p) for k in chosen]  # type: ignore[union-attr]
    p_values = stats.holm(known + [1.0] * (len(titles) - len(known)))[: len(known)]
    result = list(rows)
    for k, p in zip(chosen, p_values, strict=True):
        row = rows[k]
        decided = p < 1 - stats.LEVEL or row.verdict == Verdict.EQUIVALENT
        result[k] = replace(
            row,
            result=f"{row.result}; Holm p over the regimes {shown_p(p)}",
            verdict=row.verdict if decided else Verdict.NOT_DECIDED,
        )
    return result


FASHION, CIFAR = "Fashion-MNIST", "CIFAR-10"
STUDIES = (
    Study("published-regime_cifar10", f"published regime, {CIFAR}", against_adam),
    Study("published-regime_fashion-mnist", f"published regime, {FASHION}", against_adam),
    Study(
        "published-regime_cifar10_resnet18", f"published regime, {CIFAR}, ResNet-18", against_adam
    ),
    Study("small-lr_cifar10_resnet18", f"lr 0.001, {CIFAR}, ResNet-18", against_adam),
    Study("cifar10-again", f"{CIFAR} again", rivals),
    Study("equal-settings_cifar10", f"equal settings, new seeds, {CIFAR}", equal_settings),
    Study("inverse-decay_cifar10", f"InvAdam on {CIFAR}", differences(6)),
    Study("flatness-equal-lr_digits", "equal lr, digits", flat_at_equal_lr(4)),
    Study("flatness-equal-lr_fashion-mnist", f"equal lr, {FASHION}", flat_at_equal_lr(4)),
    *(
        Study(
            f"flatness-equal-loss_{data}_{key}",
            f"equal loss, {title}, {key}",
            flat_at_equal_loss(name),
        )
        for data, title in (("digits", "digits"), ("fashion-mnist", FASHION))
        for key, name in (
            ("eigenvalue", "largest eigenvalue"),
            ("sharpness", "adaptive SAM sharpness"),
        )
    ),
    Study(f"{REGIME}summed_digits", "summed loss, digits", differences(8)),
    Study(f"{REGIME}summed_fashion-mnist", f"summed loss, {FASHION}", differences(8)),
    Study(f"{REGIME}wrong-labels-20_digits", "20 % wrong labels, digits", differences(8)),
    Study(
        f"{REGIME}wrong-labels-20_fashion-mnist",
        f"20 % wrong labels, {FASHION}",
        differences(8),
    ),
    Study("wrong-labels-again_fashion-mnist", f"20 % wrong labels, new seeds, {FASHION}", again(8)),
    Study(f"{REGIME}wrong-labels-40_digits", "40 % wrong labels, digits", differences(8)),
    Study(f"{REGIME}large-batch_digits", "batches of 300, digits", differences(8)),
    Study(f"{REGIME}small-data_digits", "200 images, digits", differences(8)),
    Study(
        "small-data-again_digits",
        "200 images, new seeds, digits",
        again(8, beside=("DualAdam", "Adam + warm-up")),
    ),
    Study(f"{REGIME}fine-grid_digits", "a fine grid, digits", differences(8)),
    Study("variants_digits", "variants, digits", against_adam),
    Study("variants_fashion-mnist", f"variants, {FASHION}", with_shares),
    Study("characters", "character Transformer", characters),
    Study("bound_fashion-mnist", f"bounded form, {FASHION}", differences(9)),
    Study("mix_fashion-mnist", f"mixed form, {FASHION}", mixed),
    Study("mix_cifar10", f"mixed form, {CIFAR}", mixed),
    Study("mix-again_cifar10", f"mixed form, new seeds, {CIFAR}", mixed_again),
    Study("replay_fashion-mnist", f"replayed schedules, {FASHION}", replayed),
)
