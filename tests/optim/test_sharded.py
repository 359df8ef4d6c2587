"""Distributed training with two processes (gloo): DDP, FSDP2, checkpoints, ZeRO, step in backward.

The processes are started once for all cases, which takes 10 s on two idle cores.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from sharded_cases import CASES, PATHS, SHARDED

PROGRAM = Path(__file__).with_name("sharded_program.py")


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, str]]:
    """What each process of each start says, "passed" or a traceback, by "case, path"."""
    folder = tmp_path_factory.mktemp("sharded")
    found = []
    for world_size in CASES:
        processes = [
            subprocess.Popen(
                [sys.executable, str(PROGRAM), str(folder), str(rank), str(world_size)],
                env={
                    **os.environ,
                    "PYTHONPATH": str(PROGRAM.parents[2] / "src"),
                    "OMP_NUM_THREADS": "1",
                },
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            for rank in range(world_size)
        ]
        for rank, process in enumerate(processes):
            output, _ = process.communicate(timeout=300)
            file = folder / f"{world_size}-{rank}.json"
            found.append(json.loads(file.read_text()) if file.exists() else {"output": output})
    return found


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("world_size", "case"), [(size, case) for size, cases in CASES.items() for case in cases]
)
def test_in_every_process(results: list[dict[str, str]], world_size: int, case: str, path: str):
    """The name of the case is the sentence."""
    if case in SHARDED and not hasattr(torch.cpu.Stream, "record_event"):
        pytest.skip("FSDP2 of this torch does not run on the CPU")
    of_processes = results[:2] if world_size == 2 else results[2:]
    for result in of_processes:
        last = list(result.values())[-1:]  # a case that fails in one process stops the other
        assert result.get(f"{case}, {path}", f"not reached after {last}") == "passed"
