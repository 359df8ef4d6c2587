"""What a spec may do but probably should not is a warning, not an error."""

import pytest
import torch
from compare_cases import TINY, study

from dualadam.compare.optimizers import find_entry
from dualadam.compare.report import write_report
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


class AveragedSGD(torch.optim.SGD):
    """Like a schedule-free optimizer, it is told whether weights are trained or evaluated."""

    def train(self):
        pass

    def eval(self):
        pass


class Undecayed(torch.optim.Optimizer):
    """An optimizer without weight decay."""

    def __init__(self, params, lr=1e-3):
        super().__init__(params, {"lr": lr})

    def step(self, closure=None):
        for group in self.param_groups:
            for p in group["params"]:
                p.data.sub_(p.grad, alpha=group["lr"])


@pytest.mark.parametrize("name", ["schedulefree.AdamWScheduleFree", f"{__name__}.AveragedSGD"])
def test_a_schedule_free_optimizer_under_a_schedule_is_warned_of(name):
    def find(asked):
        return None if asked.startswith("schedulefree") else find_entry(asked)

    text = TINY.replace('optimizer = "AdamW"', f'optimizer = "{name}"')
    warning = (
        f"'AdamW': {name} is schedule-free, but runs under a cosine schedule. "
        'Set schedule = "constant" for this arm.'
    )
    assert spec_warnings(parse_spec(text), find).count(warning) == 1
    for constant in (
        text.replace("steps = 10", 'steps = 10\nschedule = "constant"'),
        text.replace(f'optimizer = "{name}"', f'optimizer = "{name}"\nschedule = "constant"'),
    ):
        assert not [w for w in spec_warnings(parse_spec(constant), find) if "schedule-free" in w]


def test_a_class_without_weight_decay_is_warned_of():
    name = f"{__name__}.Undecayed"
    text = TINY.replace('optimizer = "AdamW"', f'optimizer = "{name}"')
    assert spec_warnings(parse_spec(text), find_entry) == [
        f"'AdamW': {name} takes no weight_decay, so nothing of it decays."
    ]


def test_the_report_says_which_arms_did_not_decay(tmp_path):
    name = f"{__name__}.Undecayed"
    text = TINY.replace('optimizer = "AdamW"', f'optimizer = "{name}"').replace("= 10", "= 2", 1)
    study(text, tmp_path)
    write_report(tmp_path)
    markdown = (tmp_path / "report.md").read_text()
    assert "so that every other arm with one decays by" in markdown
    assert "AdamW decayed nothing: the optimizer takes no weight_decay." in markdown
    assert "may be coupled" not in markdown
