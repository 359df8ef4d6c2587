"""A study made small enough to show only that it runs."""

from __future__ import annotations

from typing import Any

from dualadam.compare.spec import Spec


def smoke_test(spec: Spec, device: str = "cpu") -> Spec:
    """Return a study of two steps with the same task and model and the two primary arms.

    It only shows that they run. On a CPU it is float32: most CPUs multiply bfloat16 slowly.

    Example:
        >>> from dualadam.compare.spec_file import load_spec
        >>> small = smoke_test(load_spec("digits"))
        >>> small.name, small.steps, small.points, small.seeds, len(small.block[0].arm)
        ('digits-smoke', 2, 1, 2, 2)
    """
    block, compared = spec.primary_block, (spec.primary.arm, spec.primary.against)
    changes: dict[str, Any] = {
        "name": f"{spec.name[:70]}-smoke",
        "title": f"Smoke test of {(spec.title or spec.name)[:180]}",
        "smoke": True,
        "demonstration": True,
        "epochs": None,
        "steps": 2 if spec.train is None else spec.steps and 2,
        "batch_size": min(spec.batch_size, 2),
        "accumulate": min(spec.accumulate, 2),
        "points": min(spec.points, 1),
        "extended": [],
        "tuning_seeds": 1,
        "seeds": 2,
        **({"evaluations": 1, "evaluate_at_most": 4} if spec.train is None else {}),
        "block": [block.model_copy(update={"arm": [a for a in block.arm if a.name in compared]})],
    }
    if device == "cpu":
        changes["precision"] = "float32"
    if spec.language:
        num_tokens = min(spec.language["max_new_tokens"], 16)
        changes["language"] = spec.language | {"max_new_tokens": num_tokens}
    return spec.model_copy(update=changes)
