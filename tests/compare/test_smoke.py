"""A smoke test is the study itself, made small."""

import json

import pytest

from dualadam.compare.plan import make_plan
from dualadam.compare.smoke import smoke_test
from dualadam.compare.spec_file import builtin_specs, load_spec, parse_spec


def as_toml(value):
    """Write a spec as TOML by way of its JSON; only keys and null are written differently."""
    if isinstance(value, dict):
        items = (f"{json.dumps(k)} = {as_toml(v)}" for k, v in value.items() if v is not None)
        return "{" + ", ".join(items) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value)


@pytest.mark.parametrize("name", builtin_specs())
def test_a_smoke_test_has_two_steps_of_the_two_arms_of_the_primary_comparison(name):
    spec = load_spec(name)
    small = smoke_test(spec)
    assert [arm.name for arm in small.block[0].arm] == [spec.primary.against, spec.primary.arm]
    assert (small.task, small.model, small.name) == (spec.task, spec.model, f"{name}-smoke")
    assert make_plan(small).num_runs == 2 + 4


@pytest.mark.parametrize("name", builtin_specs())
def test_a_smoke_test_could_have_been_written_as_a_file(name):
    small = smoke_test(load_spec(name))
    content = json.loads(small.model_dump_json())
    text = "\n".join(f"{k} = {as_toml(v)}" for k, v in content.items() if v is not None)
    assert parse_spec(text) == small


@pytest.mark.parametrize(("device", "precision"), [("cpu", "float32"), ("cuda", "bfloat16")])
def test_on_a_cpu_a_smoke_test_is_float32(device, precision):
    spec = load_spec("digits").model_copy(update={"precision": "bfloat16"})
    assert smoke_test(spec, device).precision == precision
