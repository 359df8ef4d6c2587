"""A spec with a mistake is refused, whole sentence by whole sentence: file, line, value, range, nearest name."""

import dataclasses
import json
import re

import pytest
from compare_cases import DIGITS, TINY

from dualadam.compare.plan import make_plan
from dualadam.compare.spec import Language
from dualadam.compare.spec_file import BUILTIN, SpecError, builtin_specs, load_spec, parse_spec
from dualadam.tasks import FineTuning

# what is replaced in the built-in digits spec, by what, and what is said of it
REFUSED = [
    (
        "epochs = 15",
        "epoch = 15",
        "spec, line 6: epoch is not a key of a spec; did you mean 'epochs'?",
    ),
    (
        "margin = 0.5",
        "margn = 0.5",
        "spec, line 13: primary.margin is missing.\nspec, line 16: primary.margn is not a key of a spec; did you mean 'margin'?",
    ),
    (
        'task = "digits"',
        'task = "digit"',
        "spec, line 4: task is not a task of the comparison, got 'digit'; did you mean 'digits'?",
    ),
    (
        'model = "small-cnn"',
        'model = "small-cn"',
        "spec, line 5: model is not a model of the task 'digits', got 'small-cn'; did you mean 'small-cnn'?",
    ),
    (
        'optimizer = "RAdam"',
        'optimizer = "Radm"',
        "spec, line 39: block.arm.optimizer 'Radm' is not an optimizer of the comparison; did you mean 'RAdam'?",
    ),
    (
        "lr = [1e-1, 1e2]",
        "lrr = [1e-1, 1e2]",
        "spec, line 45: block.arm.tune.lrr InvAdam takes no argument 'lrr'; did you mean 'lr'?",
    ),
    (
        "lr = [1e-1, 1e2]",
        "lr = [1e2, 1e-1]",
        "spec, line 45: block.arm.tune.lr must be a range [low, high] with 0 < low < high (it is sampled on a logarithmic scale), got [100.0, 0.1].",
    ),
    (
        "lr = [1e-1, 1e2]",
        "lr = [1e-1]",
        "spec, line 45: block.arm.tune.lr must be a range [low, high], got [0.1].",
    ),
    (
        "lr = [1e-1, 1e2]",
        "lr = [1e-1, inf]",
        "spec, line 45: block.arm.tune.lr must be a finite number, got inf.",
    ),
    (
        "\nseeds = 5",
        "\nseeds = 0",
        "spec, line 11: seeds must be greater than or equal to 2, got 0.",
    ),
    ("\nseeds = 5", "\nseeds = 5.5", "spec, line 11: seeds must be a valid integer, got 5.5."),
    ("\nseeds = 5", "\nseeds = true", "spec, line 11: seeds must be a valid integer, got True."),
    ("\nseeds = 5", "", "spec: seeds is missing."),
    (
        "margin = 0.5",
        "margin = nan",
        "spec, line 16: primary.margin must be a finite number, got nan.",
    ),
    (
        "margin = 0.5",
        "margin = -0.5",
        "spec, line 16: primary.margin must be greater than 0, got -0.5.",
    ),
    (
        "weight_decay = 0.0",
        "weight_decay = 1e300",
        "spec, line 20: block.weight_decay must be less than or equal to 1000000000000, got 1e+300.",
    ),
    (
        "epochs = 15",
        "epochs = 15\nsteps = 100",
        "spec, line 6: epochs give either epochs or steps.",
    ),
    ("epochs = 15", "", "spec: epochs give either epochs or steps."),
    (
        "batch_size = 32",
        "batch_size = 2000",
        "spec, line 7: batch_size must be at most the number of training examples, 1078, got 2000.",
    ),
    (
        "batch_size = 32",
        "batch_size = 32\nsubset = 2000",
        "spec, line 8: subset must be at most the 1078 training examples of 'digits', got 2000.",
    ),
    (
        'schedule = "cosine"',
        'schedule = "cosin"',
        "spec, line 8: schedule must be 'constant', 'linear' or 'cosine', got 'cosin'.",
    ),
    (
        'name = "digits"',
        'name = "../digits"',
        "spec, line 2: name has letters that a name must not have, got '../digits'; letters, digits and '-' are safe.",
    ),
    (
        'name = "NAdam"',
        'name = "Adam"',
        "spec, line 33: block.arm.name must differ from the other arms of the block, got 'Adam' again.",
    ),
    (
        'arm = "DualAdam"',
        'arm = "DualAdm"',
        "spec, line 14: primary.arm is not an arm of the block 'no weight decay', got 'DualAdm'; did you mean 'DualAdam'?",
    ),
    (
        'against = "Adam + warm-up"',
        'against = "DualAdam"',
        "spec, line 15: primary.against must differ from primary.arm, got 'DualAdam' twice.",
    ),
    (
        'arm = "DualAdam"',
        'arm = "DualAdam"\nblock = "weight decay"',
        "spec, line 15: primary.block is not a block, got 'weight decay'; did you mean 'no weight decay'?",
    ),
    (
        'optimizer = "RAdam"\n',
        'optimizer = "RAdam"\nargs = { lr = 0.1 }\n',
        "spec, line 41: block.arm.tune.lr 'lr' is fixed by args and tuned: choose one.",
    ),
    (
        'optimizer = "RAdam"\n',
        'optimizer = "RAdam"\nargs = { weight_decay = 0.1 }\n',
        "spec, line 40: block.arm.args.weight_decay weight_decay belongs to the block: all arms of a block share it.",
    ),
    (
        "{ lr = [3e-4, 3e-2], switch_rate = [3e-3, 1e-1] }\n\n",
        "{ lr = [3e-4, 3e-2] }\n\n",
        "spec, line 29: block.arm.optimizer Adam+warmup needs a switch_rate, in args or in tune: its warm-up lasts 1 / switch_rate steps.",
    ),
    (
        "switch_rate = [3e-3, 1e-1] }\n\n",
        "switch_rate = [3e-3, 2] }\n\n",
        "spec, line 30: block.arm.tune.switch_rate must stay in (0, 1], got [0.003, 2.0].",
    ),
    (
        'optimizer = "RAdam"\n',
        'optimizer = "RAdam"\nargs = { betas = [0.9, 1.5] }\n',
        "spec, line 41: block.arm.tune RAdam refuses {'betas': [0.9, 1.5], 'lr': 0.0003}: Invalid beta parameter at index 1: 1.5.",
    ),
    (
        'optimizer = "RAdam"\n',
        'optimizer = "RAdam"\nargs = { eps = inf }\n',
        "spec, line 40: block.arm.args.eps must be true, false, a string, a finite number up to 1e12 or a list of these, got inf.",
    ),
    (
        'optimizer = "RAdam"\n',
        'optimizer = "RAdam"\nargs = { eps = 1979-05-27 }\n',
        "spec, line 40: block.arm.args.eps must be true, false, a string, a finite number up to 1e12 or a list of these, got datetime.date(1979, 5, 27).",
    ),
    (
        "tune = { lr = [3e-4, 3e-2], switch_rate = [3e-3, 1e-1] }\n\n",
        'tune = { lr = [3e-4, 3e-2] }\nargs = { switch_rate = "fast" }\n\n',
        "spec, line 31: block.arm.args.switch_rate must be in (0, 1] for a warm-up, got 'fast'.",
    ),
    (
        "tune = { lr = [3e-4, 3e-2], switch_rate = [3e-3, 1e-1] }\n\n",
        "tune = { lr = [3e-4, 3e-2] }\nargs = { switch_rate = 0 }\n\n",
        "spec, line 31: block.arm.args.switch_rate must be in (0, 1] for a warm-up, got 0.",
    ),
    (
        'optimizer = "RAdam"',
        'optimizer = "torch.optim.Adamx"',
        "spec, line 39: block.arm.optimizer the class 'torch.optim.Adamx' cannot be imported: module 'torch.optim' has no attribute 'Adamx'.",
    ),
    (
        'optimizer = "RAdam"',
        'optimizer = "pathlib.Path"',
        "spec, line 39: block.arm.optimizer 'pathlib.Path' must be a subclass of torch.optim.Optimizer, got <class 'pathlib.Path'>.",
    ),
    (
        'optimizer = "RAdam"',
        'optimizer = "..RAdam"',
        "spec, line 39: block.arm.optimizer '..RAdam' is not an optimizer of the comparison.",
    ),
    (
        'optimizer = "RAdam"',
        'optimizer = "torch.optim.LBFGS"',
        "spec, line 40: block.arm.tune torch.optim.LBFGS refuses {'lr': 0.0003}: LBFGS.step() missing 1 required positional argument: 'closure'.",
    ),
    (
        'optimizer = "RAdam"\ntune = { lr = [3e-4, 3e-2] }',
        'optimizer = "RAdam"\nargs = { lr = 1e-3 }',
        "spec, line 37: block.arm every arm gets the same number of points, and 'RAdam' does not fit points = 8: give it a range in tune.",
    ),
    ("points = 8", "points = ", "spec is not TOML: Invalid value (at line 9, column 10)."),
]


@pytest.mark.parametrize(("old", "new", "sentence"), REFUSED)
def test_a_mistake_is_refused_with_its_line_its_value_and_the_remedy(old, new, sentence):
    assert old in DIGITS
    with pytest.raises(SpecError) as error:
        parse_spec(DIGITS.replace(old, new, 1))
    assert str(error.value) == sentence


def test_every_mistake_is_named_at_once():
    with pytest.raises(SpecError) as error:
        parse_spec(
            DIGITS.replace("epochs = 15", "epoch = 15").replace("\nseeds = 5", "\nseeds = 1")
        )
    assert len(str(error.value).splitlines()) == 2


def test_a_path_that_is_no_file_is_refused_with_the_nearest_built_in_name(tmp_path):
    with pytest.raises(
        SpecError,
        match=r"spec must be a TOML file or a built-in name, got 'digit'; did you mean 'digits'\?",
    ):
        load_spec("digit")
    with pytest.raises(SpecError, match="spec must be a TOML file or a built-in name"):
        load_spec(tmp_path)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "picture.toml"
    path.write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(SpecError, match=r"picture\.toml is not a text file in UTF-8"):
        load_spec(path)


LANGUAGE = (BUILTIN / "language-quick.toml").read_text()
# what is replaced in the built-in language spec, by what, and what is said of it
REFUSED_LANGUAGE = [
    (
        'parameters = "last-2"',
        'parametres = "full"',
        "spec, line 16: language.parametres is not a key of a spec; did you mean 'parameters'?",
    ),
    (
        'parameters = "last-2"',
        'parameters = "last-0"',
        "spec, line 16: language.parameters must be full, lora, or last-1 to last-99, got 'last-0'.",
    ),
    (
        "max_length = 64",
        "max_length = 2",
        "spec, line 17: language.max_length must be greater than or equal to 4, got 2.",
    ),
    (
        "max_length = 64",
        "packed = true",
        "spec, line 17: language.packed must be false for classification: a row has one class.",
    ),
    (
        'model = "minilm-l6"',
        'model = "minilm"',
        "spec, line 6: model is not a model of the task 'bbc-news', got 'minilm'; did you mean 'minilm-l6'? (a folder",
    ),
    (
        "seeds = 3",
        "seeds = 3\naugment = true",
        "spec, line 13: augment must be false: 'bbc-news' has no augmentation.",
    ),
    (
        "seeds = 3",
        "seeds = 3\naccumulate = 17",
        "spec, line 13: accumulate must be at most batch_size, 16, got 17.",
    ),
    ("max_length = 64", 'dtype = "bfloat16"', None),
    (
        'task = "bbc-news"\nmodel = "minilm-l6"',
        'task = "digits"\nmodel = "small-cnn"',
        "spec, line 15: language is for language tasks, and 'digits' is none.",
    ),
    ('model = "minilm-l6"', 'model = "./my/model"', None),
    ('model = "minilm-l6"', 'model = "google/bert_uncased_L-2_H-128_A-2"', None),
]


@pytest.mark.parametrize(("old", "new", "sentence"), REFUSED_LANGUAGE)
def test_the_table_of_a_language_task_is_checked_as_all_others_are(old, new, sentence):
    assert LANGUAGE.count(old) == 1
    text = LANGUAGE.replace(old, new)
    if sentence is None:
        assert parse_spec(text).fine_tuning.model
    else:
        with pytest.raises(SpecError, match="^" + re.escape(sentence)):
            parse_spec(text)


def test_flatness_of_bfloat16_parameters_is_refused_and_unlike_arithmetic_is_warned_of():
    text = LANGUAGE.replace("max_length = 64", 'dtype = "bfloat16"')
    with pytest.raises(SpecError, match="flatness must be false for bfloat16 parameters"):
        parse_spec(text.replace("seeds = 3", "seeds = 3\nflatness = true"))
    assert [w.partition(":")[0] for w in parse_spec(text).warnings()] == [
        "'Adam'",
        "'Adam + warm-up'",
    ]


def test_the_table_has_the_fields_of_the_fine_tuning_with_its_defaults():
    spec = parse_spec(re.sub(r"\[language\]\n.*\n.*\n", "", LANGUAGE))
    assert spec.language is None
    assert spec.fine_tuning == FineTuning("minilm-l6")
    assert Language.model_fields.keys() == {f.name for f in dataclasses.fields(FineTuning)} - {
        "model"
    }


@pytest.mark.parametrize("name", builtin_specs())
def test_a_smoke_test_has_the_two_arms_of_the_comparison_and_few_steps_and_warns_of_nothing(name):
    spec = load_spec(name)
    small = spec.smoke_test()
    assert [arm.name for arm in small.block[0].arm] == [spec.primary.against, spec.primary.arm]
    assert (small.task, small.model, small.name) == (spec.task, spec.model, f"{name}-smoke")
    assert make_plan(small).num_runs == 2 + 4
    assert small.warnings() == []
    assert parse_spec(tomllib_free(small)) == small  # it could have been written so


def tomllib_free(spec):
    """A spec as TOML, by way of its JSON: every value of it is written alike in both but for the names and null."""

    def text(value):
        if isinstance(value, dict):
            return (
                "{"
                + ", ".join(
                    f"{json.dumps(k)} = {text(v)}" for k, v in value.items() if v is not None
                )
                + "}"
            )
        return (
            "[" + ", ".join(map(text, value)) + "]"
            if isinstance(value, list)
            else json.dumps(value)
        )

    return "\n".join(
        f"{k} = {text(v)}" for k, v in json.loads(spec.model_dump_json()).items() if v is not None
    )


@pytest.mark.parametrize("name", builtin_specs())
def test_built_in_specs_load_and_warn_of_nothing(name):
    assert load_spec(name).warnings() == []


def test_an_unfinished_hand_over_warns_and_names_the_remedy():
    text = TINY.replace(
        'switch_rate = [0.2, 0.5] }\n\n[[block.arm]]\nname = "D',
        'switch_rate = [1e-3, 0.5] }\n\n[[block.arm]]\nname = "D',
        1,
    )
    (warning,) = parse_spec(text).warnings()
    assert warning == (
        "'Adam + warm-up': switch_rate 0.001 needs 1,000 steps for its hand-over, and a run has 10: it would end unfinished. "
        "switch_rate_for(10) gives one that fits."
    )


def test_coupled_decay_warns_where_there_is_decay():
    text = TINY.replace('optimizer = "AdamW"', 'optimizer = "Adam"')
    assert parse_spec(text).warnings() == [
        "'AdamW': its weight decay is coupled (L2), that of the other arms is decoupled."
    ]
    assert parse_spec(text.replace("weight_decay = 0.01", "weight_decay = 0.0")).warnings() == []


def test_how_a_class_of_the_readers_own_decays_is_not_claimed():
    text = TINY.replace('optimizer = "AdamW"', 'optimizer = "torch.optim.Adamax"')
    assert parse_spec(text).warnings() == [
        "'AdamW': its weight decay is as torch.optim.Adamax does it, which may be coupled (L2)."
    ]
