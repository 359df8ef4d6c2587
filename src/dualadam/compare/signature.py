"""The signature of a score: what it was measured with, as one string."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from dualadam.compare.run import Record, Run
from dualadam.tasks import FineTuning


def signature(judged: Sequence[Record]) -> str:
    """Return the signature of an arm's judged runs, which differ in their seeds alone.

    It names task, arm, settings, seeds and versions:
    ``task:digits|model:small-cnn|optimizer:Adam|lr:0.003|...|torch:2.13.0+cpu|dualadam:0.1.0``.
    """
    run, env = judged[0].run, judged[0].environment
    seeds = [record.run.seed for record in judged]
    parts = [
        f"task:{run.task}",
        *([f"model:{run.model}"] if run.model else []),
        f"optimizer:{run.optimizer}",
        *(f"{name}:{value}" for name, value in sorted(run.settings.items())),
        f"weight_decay:{run.weight_decay:g}",
        *([f"reference_lr:{run.reference_lr:g}"] if run.reference_lr else []),
        *(_loop(run) if run.own_loop is None else _own_loop(run)),
        f"seeds:{min(seeds)}-{max(seeds)}",
        f"device:{env['device']}",
        f"threads:{env['threads']}",
        f"torch:{env['torch']}",
        f"dualadam:{env['dualadam']}",
    ]
    return "|".join(parts)


def _loop(run: Run) -> list[str]:
    return [
        f"epochs:{run.epochs}" if run.epochs else f"steps:{run.steps}",
        f"batch:{run.batch_size}",
        f"schedule:{run.schedule}",
        *_unusual(run),
        f"precision:{run.precision}",
    ]


def _own_loop(run: Run) -> list[str]:
    assert run.own_loop is not None
    steps = [f"steps:{run.steps}"] if run.steps else []
    return steps + ([f"command:{run.own_loop.command}"] if run.own_loop.command else [])


def _unusual(run: Run) -> list[str]:
    """Name the settings that most runs leave at their defaults."""
    options = {
        "subset": run.subset,
        "augment": run.augment,
        "evaluate_at_most": run.evaluate_at_most,
        "warmup": run.warmup,
        "fused": run.fused,
        "accumulate": run.accumulate if run.accumulate > 1 else None,
    }
    parts = [f"{name}:{value}" for name, value in options.items() if value]
    if run.language:
        usual = asdict(FineTuning(run.model)) | {"parameters": None, "max_length": None}
        tuned = asdict(run.language)
        parts += [f"{name}:{tuned[name]}" for name in usual if tuned[name] != usual[name]]
    return parts + ([f"loss_scale:{run.loss_scale:g}"] if run.loss_scale != 1 else [])
