"""Trying optimizer classes before a study: one that ends its process does not end the command."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any

from dualadam.compare.optimizers import OPTIMIZERS, find_entry, try_step
from dualadam.errors import last_line
from dualadam.harness.executors import process_executor
from dualadam.harness.processes import WorkerDiedError

TRUSTED = ("torch", "dualadam")  # packages whose classes do not end a process


class Attempts:
    """Tries the optimizers of a spec; those of other packages in one process of their own.

    The process starts with the first of them: it takes as long as importing torch does.
    """

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._executor: Executor | None = None

    def __enter__(self) -> Attempts:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def death_of_import(self, name: str) -> str | None:
        """Return how a class ends the process that imports it, or None where it does not."""
        is_imported = name.rpartition(".")[0] in sys.modules
        return None if is_imported or is_trusted(name) else self._apart(importing, name)

    def refusal(
        self, name: str, settings: Mapping[str, Any], *, warmup: bool, fused: bool
    ) -> str | None:
        """Return why an optimizer cannot take a step with these settings, or None if it can."""
        if is_trusted(name):
            return refusal(name, settings, warmup, fused)
        return self._apart(refusal, name, dict(settings), warmup, fused)

    def _apart(self, function: Callable[..., str | None], *args: Any) -> str | None:
        if self._executor is None:
            self._executor, _ = self._stack.enter_context(process_executor(1))
        try:
            return self._executor.submit(function, *args).result()
        except WorkerDiedError as error:
            return str(error).rstrip(".")


def is_trusted(name: str) -> bool:
    """Whether an optimizer is tried in this process."""
    return name in OPTIMIZERS or name.partition(".")[0] in TRUSTED


def importing(name: str) -> str | None:
    """Import a class; what it raises is reported elsewhere."""
    with suppress(ValueError, KeyboardInterrupt):
        find_entry(name)
    return None


def refusal(name: str, settings: Mapping[str, Any], warmup: bool, fused: bool) -> str | None:
    """Return why an optimizer cannot take a step with these settings, or None if it can."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try_step(name, settings, warmup=warmup, fused=fused)
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # a user's class may raise anything
        reason = str(error) if isinstance(error, ValueError) else last_line(error)
        if fused and refusal(name, settings, warmup, fused=False) is None:
            reason = f"{reason.rstrip('.')}; without its fused step it works: set fused = false."
        return reason
    return None
