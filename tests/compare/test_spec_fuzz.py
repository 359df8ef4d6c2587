"""A thousand mutations of the built-in specs: each is accepted, or refused with a sentence."""

import random

import pytest
from compare_cases import DIGITS

from dualadam.compare.check import check_spec
from dualadam.compare.optimizers import find_entry
from dualadam.compare.plan import make_plan
from dualadam.compare.spec_file import BUILTIN, SpecError, builtin_specs, parse_spec
from dualadam.compare.spec_text import SpecText
from dualadam.compare.spec_warnings import spec_warnings

# fmt: off
VALUES = [
    "0", "-1", "1", "2", "1.5", "1e-300", "1e300", "1e999", "nan", "-inf", "99999999999999999999",
    "true", "false", "[]", "{}", "[1,2]", "[[1,2],[3]]", "''", "'x'", "'Adam'", "'nan'", "'[/red]'",
    "'$x^$'", "'\\u0000'", "'../..'", "1979-05-27", "07:32:00", "{lr=1}", "{lr=[1e-3,1e-1]}",
    "{switch_rate=2}", "[2,1]", "[0,1]", "[nan,1]", "['a','b']", "0x10", "'torch.optim.Adamax'",
    "'os.path'", "'.'", "'a..b'", "'torch.optim.Optimizer'", "'torch.optim.LBFGS'",
    "'torch.nn.Linear'", "{betas=[0.9,0.99]}", "{betas='x'}", "{fused=true}", "{eps=nan}",
    '"""\n"""',
]
KEYS = [
    "lr", "task", "seeds", "arm", "tune", "args", "block", "name", "optimizer", "margin",
    "weight_decay", "switch_rate", "epochs", "steps", "subset", "points", "x",
]
# fmt: on
LETTERS = "[]{}=\"'#,.\x00\x1b é0"


def mutate(text, rng):
    """Change one or two things in a spec: a value, a key, a line, a letter, a table's header."""
    for _ in range(rng.randint(1, 2)):
        lines = text.split("\n")
        i = rng.randrange(len(lines))
        kind, line = rng.randrange(8), lines[i]
        if kind <= 2 and "=" in line:
            lines[i] = line.split("=")[0] + "= " + rng.choice(VALUES)
        elif kind == 3 and "=" in line:
            lines[i] = rng.choice(KEYS) + " = " + line.split("=", 1)[1]
        elif kind == 4:
            del lines[i]
        elif kind == 5:
            lines.insert(rng.randrange(len(lines)), line)
        elif kind == 6 and line:
            j = rng.randrange(len(line))
            lines[i] = line[:j] + rng.choice(LETTERS) + line[j + rng.randint(0, 1) :]
        else:
            lines.insert(i, f"{rng.choice(KEYS)} = {rng.choice(VALUES)}")
        text = "\n".join(lines)
    return text


@pytest.mark.parametrize("name", builtin_specs())
def test_a_thousand_mutations_are_accepted_or_refused_with_a_sentence(name):
    text, rng = (BUILTIN / f"{name}.toml").read_text(), random.Random(20260307)
    num_accepted, messages = 0, []
    for _ in range(1000):
        mutant = mutate(text, rng)
        try:
            spec = parse_spec(mutant)
            check_spec(spec, SpecText(mutant))
        except SpecError as error:
            messages.append(str(error))
        else:
            num_accepted += 1
            assert_it_can_be_planned_and_stored(spec)
    assert all(m.startswith("spec") and m[-1] in ".?" for m in messages)
    assert num_accepted >= 40  # the mutations reach both sides
    assert len(set(messages)) >= 300


def assert_it_can_be_planned_and_stored(spec):
    plan = make_plan(spec)
    if plan.num_runs < 1000:
        assert all(run.key for run in plan.tuning_runs)
    assert spec.model_validate_json(spec.model_dump_json()) == spec
    assert all(warning.endswith(".") for warning in spec_warnings(spec, find_entry))


def test_text_that_nests_too_deeply_is_refused():
    with pytest.raises(SpecError, match="nested too deeply"):
        parse_spec(DIGITS + "x = " + "[" * 5000)
