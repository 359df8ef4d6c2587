"""A thousand mutations of the built-in specs: each is accepted or refused with a sentence, and none ends in another exception."""

import random

import pytest
from compare_cases import DIGITS

from dualadam.compare.plan import make_plan
from dualadam.compare.spec_file import BUILTIN, SpecError, builtin_specs, parse_spec

# fmt: off
VALUES = [
    "0", "-1", "1", "2", "1.5", "1e-300", "1e300", "1e999", "nan", "-inf", "99999999999999999999", "true", "false", "[]", "{}", "[1,2]",
    "[[1,2],[3]]", "''", "'x'", "'Adam'", "'nan'", "'[/red]'", "'$x^$'", "'\\u0000'", "'../..'", "1979-05-27", "07:32:00", "{lr=1}",
    "{lr=[1e-3,1e-1]}", "{switch_rate=2}", "[2,1]", "[0,1]", "[nan,1]", "['a','b']", "0x10", "'torch.optim.Adamax'", "'os.path'", "'.'",
    "'a..b'", "'torch.optim.Optimizer'", "'torch.optim.LBFGS'", "'torch.nn.Linear'", "{betas=[0.9,0.99]}", "{betas='x'}", "{fused=true}",
    "{eps=nan}", '"""\n"""',
]
KEYS = [
    "lr", "task", "seeds", "arm", "tune", "args", "block", "name", "optimizer", "margin", "weight_decay", "switch_rate", "epochs",
    "steps", "subset", "points", "x",
]
# fmt: on


def mutate(text, rng):
    """Change one or two things of a spec's text: a value, a key, a line, a letter, a table's header."""
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
            lines[i] = (
                line[:j] + rng.choice("[]{}=\"'#,.\x00\x1b é0") + line[j + rng.randint(0, 1) :]
            )
        else:
            lines.insert(i, f"{rng.choice(KEYS)} = {rng.choice(VALUES)}")
        text = "\n".join(lines)
    return text


@pytest.mark.parametrize("name", builtin_specs())
def test_a_thousand_mutations_are_accepted_or_refused_with_a_sentence(name):
    text, rng = (BUILTIN / f"{name}.toml").read_text(), random.Random(20260307)
    accepted, sentences = 0, []
    for _ in range(1000):
        mutant = mutate(text, rng)
        try:
            spec = parse_spec(mutant)
        except SpecError as error:
            sentences.append(str(error))
        else:
            accepted += 1
            if make_plan(spec).num_runs < 1000:
                assert all(
                    run.key for run in make_plan(spec).tuning_runs
                )  # what is accepted can be planned and written down
            assert (
                spec.model_validate_json(spec.model_dump_json()) == spec
            )  # and read again from its folder
            spec.warnings()
    assert all(s.startswith("spec") and s[-1] in ".?" for s in sentences)
    assert accepted >= 40  # the mutations reach both sides
    assert len(set(sentences)) >= 300


def test_text_that_nests_too_deeply_is_refused():
    with pytest.raises(SpecError, match="nested too deeply"):
        parse_spec(DIGITS + "x = " + "[" * 5000)
