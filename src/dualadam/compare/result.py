"""What ``compare`` returns: a finished study with its report."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from dualadam.compare.report_tables import Table, score_table
from dualadam.compare.stats import Difference
from dualadam.compare.summary import Summary
from dualadam.compare.verdict_wording import interval_sentence, verdict_sentence
from dualadam.harness.verdict import Verdict

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, repr=False)
class Result:
    """A finished study. In a notebook it shows its report.

    Attributes:
        summary: every number of the report.
        folder: where ``report.html``, ``summary.json`` and the runs are.
    """

    summary: Summary
    folder: Path

    @property
    def verdict(self) -> Verdict:
        """The verdict of the primary comparison.

        With fewer than 10 seeds it is ``Verdict.DEMONSTRATION``, and where nothing differs between
        the arms ``Verdict.NO_VERDICT``. ``summary.primary.verdict`` is what the interval says.
        """
        return self.summary.verdict

    @property
    def difference(self) -> Difference:
        """The primary difference, sign-flipped so that positive is better.

        ``low`` and ``high`` are the ends of the interval that decides, ``judged`` those over the
        judged seeds alone, and ``with_choice`` those with the noise of the choice of settings.
        """
        found = self.summary.primary.difference
        assert found is not None, "the primary arm is not the control"
        return found

    def table(self) -> str:
        """Return the scores of every arm and the verdict as text."""
        parts = [text_of(score_table(self.summary, block)) for block in self.summary.spec.block]
        said = f"{verdict_sentence(self.summary)} {interval_sentence(self.summary)}"
        return "\n\n".join([*parts, said])

    def to_dataframe(self) -> pd.DataFrame:
        """Return the judged runs, a row each; needs pandas."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "block": row.block,
                    "arm": row.arm,
                    "seed": record.run.seed,
                    "score": record.test.score if record.test else None,
                    "validation": record.validation.score,
                    "diverged": record.diverged,
                    **record.run.settings,
                }
                for row in self.summary.arms
                for record in row.judged
            ]
        )

    def __repr__(self) -> str:
        return f"{verdict_sentence(self.summary)} Report: {self.folder / 'report.html'}"

    def _repr_html_(self) -> str:
        """Return the report for a notebook, in a frame so that its style stays its own."""
        page = html.escape((self.folder / "report.html").read_text(encoding="utf-8"))
        return f'<iframe srcdoc="{page}" width="100%" height="800" frameborder="0"></iframe>'


def text_of(table: Table) -> str:
    """Return a table as aligned text.

    Example:
        >>> print(text_of(Table(("Arm", "Mean"), [("Adam", "0.5")])))
        Arm   Mean
        Adam  0.5
    """
    rows = [table.columns, *table.rows]
    widths = [max(len(row[k]) for row in rows) for k in range(len(table.columns))]
    lines = ("  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
