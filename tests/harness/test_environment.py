"""A record says which versions, machine and threads made it."""

import json
import os

import pytest
import torch

import dualadam
from dualadam.harness.environment import environment, num_cores, study_environment


@pytest.mark.parametrize("threads_now", [1, 2])
def test_the_environment_of_a_run_names_versions_device_and_threads(threads, threads_now):
    threads(threads_now)
    found = environment()
    assert found["dualadam"] == dualadam.__version__
    assert found["torch"] == torch.__version__
    assert (found["device"], found["threads"]) == ("cpu", threads_now)
    assert set(found) == {
        "dualadam", "torch", "numpy", "python", "machine", "device", "threads",
    }  # fmt: skip


def test_the_environment_of_a_study_adds_scipy_cores_and_date_and_json_holds_it():
    found = study_environment()
    assert set(found) - set(environment()) == {"scipy", "cores", "date"}
    assert json.loads(json.dumps(found)) == found


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux alone has affinities")
def test_cores_are_those_that_this_process_may_use():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert num_cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert num_cores() == len(before)
