"""`dualadam.compare` offers a study from Python, and loads only what a name needs."""

import subprocess
import sys

import pytest
from compare_cases import TINY, InlineExecutor, by_key, environment, finished

import dualadam.compare as compare
from dualadam.compare.spec_file import parse_spec


@pytest.mark.parametrize("name", compare.__all__)
def test_every_public_name_has_a_docstring(name):
    assert getattr(compare, name).__doc__


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"'dualadam\.compare' has no attribute 'compere'"):
        compare.compere  # noqa: B018


def test_a_study_runs_and_is_summarised_from_python(tmp_path):
    spec = parse_spec(TINY)
    compare.check_spec(spec)
    with compare.open_study(tmp_path, spec) as store:
        records = compare.execute(compare.make_plan(spec), store, InlineExecutor(), lambda: 1)
    assert by_key(records) == by_key(finished()[1]) == by_key(compare.read_records(tmp_path))
    assert compare.summarise(spec, records).primary.arm == "DualAdam"


def test_a_run_loads_neither_the_libraries_of_specs_nor_those_of_reports():
    code = "import sys, dualadam.compare.train; print(*sys.modules)"
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True
    )
    assert not {"pydantic", "scipy", "matplotlib", "jinja2", "rich"} & set(run.stdout.split())
