"""Rules for every test: nothing random, and under CI no silent skip."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from dualadam.optim import fused_status

# A shell starts background jobs with SIGINT ignored, and their children inherit that.
# Tests of Ctrl-C need the usual handler.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("deterministic", derandomize=True, deadline=None, database=None)
settings.load_profile("deterministic")
torch.set_num_threads(1)

# These tests use a private module of torch, which may change with every minor version.
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
    """Under CI, turn a skip into a failure: a test that did not run proves nothing."""
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
    # here, since the tests of the optimizers run without what it imports
    from language_model_cases import save_tiny_model

    kinds = {"llama": "LlamaForCausalLM", "bert": "BertModel"}
    return {
        name: save_tiny_model(tmp_path_factory.mktemp(name), kind) for name, kind in kinds.items()
    }
