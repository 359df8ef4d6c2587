"""Rules that hold for every test: no luck, and under CI no silent skip."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from dualadam.optim import fused_status

# A shell starts background jobs with SIGINT ignored, and every child inherits that: tests of Ctrl-C need the usual handler.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("deterministic", derandomize=True, deadline=None, database=None)
settings.load_profile("deterministic")
torch.set_num_threads(1)

# Driven by a private module of torch, which a new minor version may change: on another one these tests are not collected.
PINNED_TORCH, PINNED_TESTS = "2.13.", ["clients/test_torch_database.py"]
collect_ignore = [] if torch.__version__.startswith(PINNED_TORCH) else PINNED_TESTS


def pytest_report_header() -> list[str]:
    return [f"torch {torch.__version__}, left out: {collect_ignore or 'nothing'}"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def _fail_if_skipped(report: pytest.CollectReport | pytest.TestReport) -> None:
    """Turn a skip into a failure: what CI did not run, it has not shown."""
    if os.environ.get("CI") and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome, report.longrepr = (
            "failed",
            f"Under CI only a missing GPU may skip a test. {reason}",
        )


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not item.get_closest_marker("gpu"):
        _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report)  # a module-level importorskip
    return report


@pytest.fixture
def needs_the_kernel() -> None:
    status = fused_status()
    if not status.available:
        # tests/optim/test_kernel_build.py fails where a compiler could have built it
        pytest.skip(status.reason)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def cache_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DUALADAM_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def tiny_models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from language_model_cases import (
        save_tiny_model,
    )  # here: it imports what the optimizers' own tests do without

    kinds = {"llama": "LlamaForCausalLM", "bert": "BertModel"}
    return {
        name: save_tiny_model(tmp_path_factory.mktemp(name), kind) for name, kind in kinds.items()
    }
