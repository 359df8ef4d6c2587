"""A spec that cannot run is refused before anything runs, with the line of every mistake."""

import glob
from pathlib import Path

import pytest
from compare_cases import DIGITS, TINY

from dualadam.compare.check import check_spec
from dualadam.compare.spec_file import BUILTIN, SpecError, builtin_specs, load_spec, parse_spec
from dualadam.compare.spec_text import SpecText

SPECS = [*builtin_specs(), *glob.glob(str(Path(__file__).parents[2] / "benchmarks/specs/*.toml"))]
LANGUAGE = (BUILTIN / "language-quick.toml").read_text()
RADAM = 'optimizer = "RAdam"'
CONTROL = "tune = { lr = [3e-4, 3e-2], switch_rate = [3e-3, 1e-1] }\n\n"
# what is replaced in the built-in spec of the digits, by what, and the message
REFUSED = [
    (
        'task = "digits"',
        'task = "digit"',
        "line 4: task must be a known task, got 'digit'; did you mean 'digits'?",
    ),
    (
        'model = "small-cnn"',
        'model = "small-cn"',
        "line 5: model must be a model of the task 'digits', got 'small-cn'; "
        "did you mean 'small-cnn'?",
    ),
    (
        "epochs = 15",
        'epochs = 15\nmetric = "macro_f1"',
        "line 7: metric must be a metric of the task 'digits', got 'macro_f1'; known: accuracy.",
    ),
    (
        "epochs = 15",
        'epochs = 15\ndirection = "lower"',
        "line 7: direction must be 'higher' for accuracy, got 'lower'.",
    ),
    (
        "batch_size = 32",
        "batch_size = 2000",
        "line 7: batch_size must be at most the number of training examples, 1078, got 2000.",
    ),
    (
        "batch_size = 32",
        "batch_size = 32\nsubset = 2000",
        "line 8: subset must be at most the 1078 training examples of 'digits', got 2000.",
    ),
    (
        RADAM,
        'optimizer = "Radm"',
        "line 39: block.arm.optimizer must be a known name or an importable class, got 'Radm'; "
        "did you mean 'RAdam'?",
    ),
    (
        RADAM,
        'optimizer = "..RAdam"',
        "line 39: block.arm.optimizer must be a known name or an importable class, got '..RAdam'; "
        "did you mean 'RAdam'?",
    ),
    (
        RADAM,
        'optimizer = "torch.optim.Adamx"',
        "line 39: block.arm.optimizer the class 'torch.optim.Adamx' cannot be imported: "
        "AttributeError: "
        "module 'torch.optim' has no attribute 'Adamx'.",
    ),
    (
        RADAM,
        'optimizer = "pathlib.Path"',
        "line 39: block.arm.optimizer 'pathlib.Path' must be a subclass of torch.optim.Optimizer, "
        "got <class 'pathlib.Path'>.",
    ),
    (
        "lr = [1e-1, 1e2]",
        "lrr = [1e-1, 1e2]",
        "line 45: block.arm.tune.lrr is not an argument of InvAdam; did you mean 'lr'?",
    ),
    (
        CONTROL,
        "tune = { lr = [3e-4, 3e-2] }\n\n",
        "line 29: block.arm.optimizer 'Adam+warmup' needs a switch_rate, in args or in tune: "
        "its warm-up lasts 1 / switch_rate steps.",
    ),
    (
        CONTROL,
        CONTROL.replace("1e-1] }", "2] }"),
        "line 30: block.arm.tune.switch_rate must stay in (0, 1] for a warm-up, got [0.003, 2.0].",
    ),
    *(
        (
            CONTROL,
            f"tune = {{ lr = [3e-4, 3e-2] }}\nargs = {{ switch_rate = {value} }}\n\n",
            f"line 31: block.arm.args.switch_rate must be in (0, 1] for a warm-up, got {shown}.",
        )
        for value, shown in (("'fast'", "'fast'"), ("0", "0"), ("[0.1, 0.2]", "[0.1, 0.2]"))
    ),
    (
        RADAM,
        RADAM + "\nargs = { betas = [0.9, 1.5] }",
        "line 40: block.arm.args gives {'betas': [0.9, 1.5]}, which RAdam refuses: "
        "Invalid beta parameter at index 1: 1.5.",
    ),
    (
        RADAM,
        'optimizer = "DualAdam"\nargs = { state_dtype = "uint8" }',
        "line 40: block.arm.args gives {'state_dtype': 'uint8'}, which DualAdam refuses: "
        "state_dtype='uint8' needs stochastic_rounding=True: rounded to nearest, a second moment "
        "in 8 bits would not change.",
    ),
    (
        RADAM,
        'optimizer = "torch.optim.LBFGS"',
        "line 40: block.arm.tune gives {'lr': 0.0003}, which torch.optim.LBFGS refuses: "
        "TypeError: LBFGS.step() missing 1 required positional argument: 'closure'.",
    ),
]
# the same for the built-in language spec; None: allowed
REFUSED_LANGUAGE = [
    (
        "max_length = 64",
        "packed = true",
        "line 17: language.packed must be false for classification: a row has one class.",
    ),
    (
        'model = "minilm-l6"',
        'model = "minilm"',
        "line 6: model must be a model of the task 'bbc-news', got 'minilm'; "
        "did you mean 'minilm-l6'? (a folder or a name on the hub has a slash).",
    ),
    (
        "seeds = 3",
        "seeds = 3\naugment = true",
        "line 13: augment must be false: 'bbc-news' has no augmentation.",
    ),
    (
        "max_length = 64\n\n[primary]",
        'dtype = "bfloat16"\n\n[primary]',
        None,
    ),
    (
        'task = "bbc-news"\nmodel = "minilm-l6"',
        'task = "digits"\nmodel = "small-cnn"',
        "line 15: language must be left out: 'digits' is not a language task.",
    ),
    ('model = "minilm-l6"', 'model = "./my/model"', None),
    ('model = "minilm-l6"', 'model = "google/bert_uncased_L-2_H-128_A-2"', None),
]


def refusal(text):
    """Return the message with which ``check_spec`` refuses a text, or None."""
    spec = parse_spec(text)
    try:
        check_spec(spec, SpecText(text))
    except SpecError as error:
        return str(error)
    return None


@pytest.mark.parametrize(("old", "new", "message"), REFUSED)
def test_what_cannot_run_is_refused_with_its_line_its_value_and_the_remedy(old, new, message):
    assert old in DIGITS
    assert refusal(DIGITS.replace(old, new, 1)) == f"spec, {message}"


@pytest.mark.parametrize(("old", "new", "message"), REFUSED_LANGUAGE)
def test_a_language_task_takes_only_settings_that_it_has_a_use_for(old, new, message):
    assert LANGUAGE.count(old) == 1
    assert refusal(LANGUAGE.replace(old, new)) == (message and f"spec, {message}")


def test_flatness_of_bfloat16_parameters_is_refused():
    text = LANGUAGE.replace("max_length = 64", 'dtype = "bfloat16"')
    assert refusal(text.replace("seeds = 3", "seeds = 3\nflatness = true")) == (
        "spec, line 13: flatness must be false: "
        "bfloat16 parameters are too coarse for second derivatives."
    )


def test_every_mistake_is_named_at_once():
    text = DIGITS.replace(RADAM, 'optimizer = "Radm"').replace("small-cnn", "small")
    message = refusal(text)
    assert [line.partition(": ")[0] for line in message.splitlines()] == [
        "spec, line 5",
        "spec, line 39",
    ]


def test_without_its_text_a_spec_is_refused_without_lines():
    with pytest.raises(SpecError, match=r"^spec: block\.arm\.optimizer must be a known name"):
        check_spec(parse_spec(TINY.replace('"AdamW"\ntune', '"AdmW"\ntune')))


@pytest.mark.parametrize("source", SPECS, ids=lambda source: Path(source).stem)
def test_every_spec_of_the_repository_can_run(source):
    check_spec(load_spec(source))
