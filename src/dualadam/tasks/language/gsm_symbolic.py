"""GSM-Symbolic: problems made from templates. All problems of a template are in one split."""

from __future__ import annotations

from pathlib import Path

from dualadam.tasks.files import PackageFile
from dualadam.tasks.language.answers import same_number
from dualadam.tasks.language.corpus import Pieces, Row
from dualadam.tasks.language.entry import PackagedTexts
from dualadam.tasks.language.generation import EXACT_MATCH, PERPLEXITY
from dualadam.tasks.language.generation_entry import GenerationEntry
from dualadam.tasks.splits import SPLIT_SEED

SIZE = 6000  # 5,941 without duplicates


def read(package: Path) -> Pieces:
    """Make the problems, the same ones every time."""
    import reasoning_gym

    problems = reasoning_gym.create_dataset("gsm_symbolic", size=SIZE, seed=SPLIT_SEED)
    return Pieces(
        [
            Row(problem["question"], problem["metadata"]["answer_cot"], str(template))
            for problem, template in zip(problems, problems.task_indices, strict=True)
        ]
    )


GSM_SYMBOLIC = GenerationEntry(
    name="gsm-symbolic",
    summary="5,941 made from 85 templates, split by template",
    num_train=3_567,
    metrics=EXACT_MATCH | PERPLEXITY,
    same=same_number,
    source=PackagedTexts(
        PackageFile("reasoning_gym", "__init__.py", "reasoning-gym==0.1.25"), read
    ),
)
