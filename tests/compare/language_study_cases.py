"""A small study of a language task, written by the tests."""

from __future__ import annotations

import json

SPEC = """
name = "own"
task = "{task}"
model = "{model}"
steps = 4
batch_size = 6
accumulate = 2
points = 1
seeds = 2
evaluations = 2
metric = "{metric}"
primary = {{ arm = "DualAdam", against = "Adam + warm-up", margin = 0.5 }}

[language]
{language}

[[block]]
arm = [
    {{ name = "Adam + warm-up", optimizer = "Adam+warmup", tune = {tune} }},
    {{ name = "DualAdam", optimizer = "DualAdam", tune = {tune} }},
]
"""


TUNE = "{ lr = [1e-3, 1e-2], switch_rate = [0.3, 0.9] }"


def write_language_study(folder, **options):
    """Write a spec and forty examples, some too long; return the command that runs them.

    The answer to a prompt is its first words; the label of a text is its first word.
    """
    generation = options["task"] == "jsonl-generation"
    rows = []
    for k in range(40):
        words = [f"w{k % 3}", *(f"w{3 + (k * n) % 30}" for n in range(1, 45 if k % 10 == 0 else 6))]
        text = " ".join(words) + f" w{k % 37}"
        rows.append(
            {"prompt": text, "response": " ".join(words[: 1 + k % 3])}
            if generation
            else {"text": text, "label": words[0]}
        )
    (folder / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "own.toml").write_text(SPEC.format(**options, tune=TUNE))
    return [
        "compare",
        folder / "own.toml",
        "--data",
        folder,
        "--workers",
        "1",
        "--out",
        folder / "out",
    ]
