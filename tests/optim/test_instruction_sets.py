"""Which instructions the kernel uses: the best of the processor, or fewer if the user says so."""

import pytest

from dualadam import fused_status
from dualadam.optim._kernels import cpu as cpu_kernel

pytestmark = pytest.mark.usefixtures("needs_the_kernel")


@pytest.fixture
def best() -> int:
    library = cpu_kernel.load()
    assert not isinstance(library, str)
    return library.dualadam_instruction_set()


def test_the_status_names_the_best_instruction_set_of_the_processor(best: int):
    name = {0: "baseline", 1: "AVX2", 2: "AVX-512"}[best]
    assert f", {name} instructions," in fused_status().reason


def test_the_environment_variable_limits_the_instruction_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DUALADAM_INSTRUCTION_SET", "baseline")
    assert ", baseline instructions," in fused_status().reason


def test_a_better_set_than_the_processor_has_is_not_used(
    best: int, monkeypatch: pytest.MonkeyPatch
):
    usual = fused_status().reason
    monkeypatch.setenv("DUALADAM_INSTRUCTION_SET", "avx512")
    assert fused_status().reason == usual
    assert cpu_kernel.instruction_set() == 2


def test_an_unknown_instruction_set_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("DUALADAM_INSTRUCTION_SET", "sse9")
    with pytest.raises(ValueError, match="must be one of baseline, avx2, avx512, got 'sse9'"):
        fused_status()
