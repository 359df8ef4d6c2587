"""A text that is no spec is refused with file, line, key, value, range and the nearest name."""

import dataclasses
import json
import re

import pytest
from compare_cases import DIGITS

from dualadam.compare.spec_file import (
    BUILTIN,
    SpecError,
    load_spec,
    load_study_spec,
    parse_spec,
)
from dualadam.errors import UnreachableError
from dualadam.tasks import FineTuning

LANGUAGE = (BUILTIN / "language-quick.toml").read_text()
RADAM = 'optimizer = "RAdam"\n'
RANGE = (
    "must be a range [low, high] with 0 < low < high (it is sampled on a logarithmic scale), got"
)
PLAIN = "must be true, false, a string, a finite number up to 1e12 or a list of these, got"
# what is replaced in the built-in spec of the digits, by what, and the message
REFUSED = [
    ("epochs = 15", "epoch = 15", "line 6: epoch is not a key of a spec; did you mean 'epochs'?"),
    (
        "margin = 0.5",
        "margn = 0.5",
        "line 13: primary.margin is missing.\n"
        "spec, line 16: primary.margn is not a key of a spec; did you mean 'margin'?",
    ),
    ("lr = [1e-1, 1e2]", "lr = [1e2, 1e-1]", f"line 45: block.arm.tune.lr {RANGE} [100.0, 0.1]."),
    ("lr = [1e-1, 1e2]", "lr = [1e-1]", f"line 45: block.arm.tune.lr {RANGE} [0.1]."),
    (
        "lr = [1e-1, 1e2]",
        "lr = [1e-1, inf]",
        "line 45: block.arm.tune.lr must be a finite number, got inf.",
    ),
    ("\nseeds = 5", "\nseeds = 0", "line 11: seeds must be greater than or equal to 2, got 0."),
    ("\nseeds = 5", "\nseeds = 5.5", "line 11: seeds must be a valid integer, got 5.5."),
    ("\nseeds = 5", "\nseeds = true", "line 11: seeds must be a valid integer, got True."),
    ("\nseeds = 5", "", "seeds is missing."),
    (
        "\nseeds = 5",
        "\nseeds = 5\nfirst_seed = 9996",
        "line 12: first_seed must be at most 9,995 with seeds = 5: tuning seeds begin at 10,000; "
        "got 9,996.",
    ),
    (
        "\nseeds = 5",
        "\nseeds = 5\nfirst_seed = 10000",
        "line 12: first_seed must be less than 10000, got 10000.",
    ),
    ("margin = 0.5", "margin = nan", "line 16: primary.margin must be a finite number, got nan."),
    ("margin = 0.5", "margin = -0.5", "line 16: primary.margin must be greater than 0, got -0.5."),
    (
        "weight_decay = 0.0",
        "weight_decay = 1e300",
        "line 20: block.weight_decay must be less than or equal to 1000000000000, got 1e+300.",
    ),
    (
        "epochs = 15",
        "epochs = 15\nsteps = 100",
        "line 6: epochs or steps must be given, and not both.",
    ),
    ("epochs = 15", "", "epochs or steps must be given, and not both."),
    (
        "\nseeds = 5",
        "\nseeds = 5\naccumulate = 33",
        "line 12: accumulate must be at most batch_size, 32, got 33.",
    ),
    (
        'schedule = "cosine"',
        'schedule = "cosin"',
        "line 8: schedule must be 'constant', 'linear' or 'cosine', got 'cosin'.",
    ),
    (
        'name = "digits"',
        'name = "../digits"',
        "line 2: name has a character that is not allowed here, got '../digits'; "
        "letters, digits and '-' are safe.",
    ),
    (
        'name = "NAdam"',
        'name = "Adam"',
        "line 33: block.arm.name must differ from the other arms of the block, got 'Adam' again.",
    ),
    (
        'arm = "DualAdam"',
        'arm = "DualAdm"',
        "line 14: primary.arm must be an arm of the block 'no weight decay', got 'DualAdm'; "
        "did you mean 'DualAdam'?",
    ),
    (
        'against = "Adam + warm-up"',
        'against = "DualAdam"',
        "line 15: primary.against must differ from primary.arm, got 'DualAdam' twice.",
    ),
    (
        'arm = "DualAdam"',
        'arm = "DualAdam"\nblock = "weight decay"',
        "line 15: primary.block must be a block, got 'weight decay'; "
        "did you mean 'no weight decay'?",
    ),
    (
        RADAM,
        RADAM + "args = { lr = 0.1 }\n",
        "line 41: block.arm.tune.lr must not be in args too: it is either fixed or tuned.",
    ),
    (
        RADAM,
        RADAM + "args = { weight_decay = 0.1 }\n",
        "line 40: block.arm.args.weight_decay must be set for the block: its arms share it.",
    ),
    (RADAM, RADAM + "args = { eps = inf }\n", f"line 40: block.arm.args.eps {PLAIN} inf."),
    (RADAM, RADAM + "args = { x = [1, inf] }\n", f"line 40: block.arm.args.x {PLAIN} inf."),
    (
        RADAM,
        RADAM + "args = { eps = 1979-05-27 }\n",
        f"line 40: block.arm.args.eps {PLAIN} datetime.date(1979, 5, 27).",
    ),
    (
        RADAM + "tune = { lr = [3e-4, 3e-2] }",
        RADAM + "args = { lr = 1e-3 }",
        "line 37: block.arm 'RAdam' does not fit points = 8: give it a range in tune.",
    ),
]


@pytest.mark.parametrize(("old", "new", "message"), REFUSED)
def test_a_mistake_is_refused_with_its_line_its_value_and_the_remedy(old, new, message):
    assert old in DIGITS
    with pytest.raises(SpecError) as error:
        parse_spec(DIGITS.replace(old, new, 1))
    assert str(error.value) == f"spec{', ' if message.startswith('line') else ': '}{message}"


def test_a_number_0_may_stand_in_a_list():
    text = DIGITS.replace(RADAM, RADAM + "args = { betas = [0.0, 0.99] }\n")
    assert parse_spec(text).block[0].find("RAdam").args == {"betas": [0.0, 0.99]}


def test_a_text_that_is_not_toml_is_refused():
    with pytest.raises(SpecError, match=r"^spec is not TOML: Invalid value \(at line 9, column 10"):
        parse_spec(DIGITS.replace("points = 8", "points = "))


def test_every_mistake_is_named_at_once():
    with pytest.raises(SpecError) as error:
        parse_spec(
            DIGITS.replace("epochs = 15", "epoch = 15").replace("\nseeds = 5", "\nseeds = 1")
        )
    assert len(str(error.value).splitlines()) == 2


def test_a_path_that_is_no_file_is_refused_with_the_nearest_built_in_name(tmp_path):
    message = "spec must be a TOML file or a built-in name, got 'digit'; did you mean 'digits'?"
    with pytest.raises(SpecError, match=re.escape(message)):
        load_spec("digit")
    with pytest.raises(SpecError, match="spec must be a TOML file or a built-in name"):
        load_spec(tmp_path)


def test_a_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "picture.toml"
    path.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(SpecError, match=r"picture\.toml is not a text file in UTF-8"):
        load_spec(path)


def test_a_file_that_cannot_be_read_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "secret.toml"
    path.write_text(DIGITS)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(type(path), "read_bytes", refuse)
    with pytest.raises(UnreachableError, match=r"secret\.toml cannot be read: Permission denied\."):
        load_spec(path)


# what is replaced in the built-in language spec, by what, and the message; None: allowed
REFUSED_LANGUAGE = [
    (
        'parameters = "last-2"',
        'parametres = "full"',
        "line 16: language.parametres is not a key of a spec; did you mean 'parameters'?",
    ),
    (
        'parameters = "last-2"',
        'model = "minilm-l6"',
        "line 16: language.model is not a key of a spec; known: parameters, max_length, dtype,",
    ),
    (
        'parameters = "last-2"',
        'parameters = "last-0"',
        "line 16: language.parameters must be 'full', 'lora', or 'last-N' with N from 1 to 99, "
        "got 'last-0'.",
    ),
    (
        "max_length = 64",
        "max_length = 2",
        "line 17: language.max_length must be an integer from 4 to 1000000, got 2.",
    ),
    ("max_length = 64", "packed = 1", "line 17: language.packed must be true or false, got 1."),
    ("max_length = 64", 'dtype = "bfloat16"', None),
]


@pytest.mark.parametrize(("old", "new", "message"), REFUSED_LANGUAGE)
def test_the_table_of_fine_tuning_is_checked_as_all_others_are(old, new, message):
    assert LANGUAGE.count(old) == 1
    text = LANGUAGE.replace(old, new)
    if message is None:
        assert parse_spec(text).fine_tuning.model
    else:
        with pytest.raises(SpecError, match="^" + re.escape(f"spec, {message}")):
            parse_spec(text)


def test_the_table_of_fine_tuning_has_the_fields_and_defaults_of_the_dataclass():
    without = parse_spec(re.sub(r"\[language\]\n.*\n.*\n", "", LANGUAGE))
    assert without.language is None
    assert without.fine_tuning == FineTuning("minilm-l6")
    spec = parse_spec(LANGUAGE)
    assert {"model": "minilm-l6"} | spec.language == dataclasses.asdict(spec.fine_tuning)
    assert list(spec.language) == [f.name for f in dataclasses.fields(FineTuning)][1:]


def test_the_spec_of_a_study_is_read_whatever_its_classes_are(tmp_path):
    spec = parse_spec(DIGITS.replace('"RAdam"', '"no_such_module.Optimizer"'))
    (tmp_path / "spec.json").write_text(spec.model_dump_json())
    assert load_study_spec(tmp_path) == spec


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seeds": 1}, "seeds must be greater than or equal to 2, got 1."),
        ({"task": "digit"}, "task must be a known task, got 'digit'; did you mean 'digits'?"),
        ({"metric": "f1"}, "metric must be a metric of the task 'digits', got 'f1'; known: accu"),
    ],
)
def test_a_damaged_spec_of_a_study_is_refused(tmp_path, change, message):
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(json.loads(load_spec("digits").model_dump_json()) | change))
    with pytest.raises(SpecError, match="^" + re.escape(f"{file}: {message}")):
        load_study_spec(file.parent)


def test_a_study_from_before_the_choice_was_carried_keeps_its_interval(tmp_path):
    content = json.loads(load_spec("digits").model_dump_json())
    assert content.pop("interval") == "with choice"
    (tmp_path / "spec.json").write_text(json.dumps(content))
    assert load_study_spec(tmp_path).interval == "judged seeds"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "is not JSON."),
        (b"[]", "must be an object, got []."),
        (b"\xff", "is not a text file in UTF-8"),
    ],
)
def test_a_file_that_is_no_spec_of_a_study_is_refused(tmp_path, content, message):
    file = tmp_path / "spec.json"
    file.write_bytes(content)
    with pytest.raises(SpecError, match="^" + re.escape(f"{file} {message}")):
        load_study_spec(tmp_path)
