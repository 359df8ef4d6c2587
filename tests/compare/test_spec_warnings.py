"""What a spec may do but probably should not is a warning, not an error."""

import pytest
from compare_cases import TINY

from dualadam.compare.optimizers import find_entry
from dualadam.compare.smoke import smoke_test
from dualadam.compare.spec_file import BUILTIN, builtin_specs, load_spec, parse_spec
from dualadam.compare.spec_warnings import spec_warnings

LANGUAGE = (BUILTIN / "language-quick.toml").read_text()
COARSE = LANGUAGE.replace("max_length = 64", 'dtype = "bfloat16"')


@pytest.mark.parametrize("name", builtin_specs())
def test_built_in_specs_warn_of_nothing(name):
    assert spec_warnings(load_spec(name), find_entry) == []


def test_an_unfinished_hand_over_is_warned_of_with_the_remedy():
    rates = "switch_rate = [0.2, 0.5] }"
    text = TINY.replace(rates, rates.replace("0.2", "1e-3"), 1)
    assert spec_warnings(parse_spec(text)) == [
        "'Adam + warm-up': switch_rate 0.001 needs 1,000 steps for its hand-over, but a run has "
        "10 steps. switch_rate_for(10) gives a rate that fits."
    ]


def test_coupled_decay_is_warned_of_only_where_there_is_decay():
    text = TINY.replace('optimizer = "AdamW"', 'optimizer = "Adam"')
    assert spec_warnings(parse_spec(text)) == [
        "'AdamW': its weight decay is coupled (L2), unlike that of the other arms."
    ]
    assert spec_warnings(parse_spec(text.replace("weight_decay = 0.01", "weight_decay = 0"))) == []


@pytest.mark.parametrize("find", [find_entry, {}.get])
def test_the_decay_of_an_unknown_class_is_said_to_be_unknown(find):
    text = TINY.replace('optimizer = "AdamW"', 'optimizer = "torch.optim.Adamax"')
    assert "'AdamW': the weight decay of torch.optim.Adamax may be coupled (L2)." in spec_warnings(
        parse_spec(text), find
    )


def test_without_its_class_an_optimizer_is_not_imported():
    text = TINY.replace('optimizer = "AdamW"', 'optimizer = "no_such_module.Adamax"')
    assert len(spec_warnings(parse_spec(text))) == 1


def test_unequal_precision_is_warned_of_but_not_where_only_adapters_are_trained():
    arms = [warning.partition(":")[0] for warning in spec_warnings(parse_spec(COARSE))]
    assert arms == ["'Adam'", "'Adam + warm-up'"]
    adapters = COARSE.replace("last-2", "lora")
    assert len(spec_warnings(parse_spec(adapters))) == 2  # the head is trained too
    generation = adapters.replace("bbc-news", "gsm8k")
    assert spec_warnings(parse_spec(generation)) == []


def test_a_smoke_test_warns_of_nothing():
    assert spec_warnings(smoke_test(parse_spec(COARSE))) == []
