"""The studies in benchmarks/specs are complete and are what their file names say."""

from pathlib import Path

import pytest

from dualadam.compare.optimizers import find_entry
from dualadam.compare.plan import make_plan
from dualadam.compare.smoke import smoke_test
from dualadam.compare.spec_file import load_spec
from dualadam.compare.spec_warnings import spec_warnings

SPECS = sorted((Path(__file__).parents[2] / "benchmarks" / "specs").glob("*.toml"))
LANGUAGE = [path for path in SPECS if path.stem.startswith("smollm2-")]
PUBLISHED = [path for path in SPECS if path.stem.endswith("_as-published")]
FAIR = [path for path in SPECS if path.stem.endswith("_fair")]
STUDIES = [path for path in SPECS if path.stem.endswith(("_study", "_regime"))]
STATES = [path for path in SPECS if path.stem.endswith("-state")]
# the warnings of a problem of one's own need its task
SILENT = [path for path in SPECS if path.stem != "digits_bfloat16-state"]
PRIMARY = ("DualAdam", "Adam + warm-up")


def of(paths):
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def test_each_data_set_of_the_paper_has_a_study_as_published_and_a_fair_one():
    names = {"fashion-mnist", "cifar10", "cifar100", "tiny-imagenet", "imagenet"}
    for kind in (PUBLISHED, FAIR):
        assert {load_spec(path).task for path in kind} == names
        models = {load_spec(path).model for path in kind if path.name.startswith("cifar10_")}
        assert models == {"resnet18", "resnet50", "vgg16-bn", "vit"}


@of(SILENT)
def test_a_study_warns_of_nothing(path):
    assert spec_warnings(load_spec(path), find_entry) == []


@of(PUBLISHED + FAIR)
def test_a_study_is_planned_without_data_and_its_file_name_says_what_it_is(path):
    spec = load_spec(path)
    task, model, kind = path.stem.split("_")
    assert (spec.task, spec.model, spec.name) == (task, model, f"{task}-{model}-{kind}")
    assert make_plan(spec).num_runs > 0
    assert (spec.primary.arm, spec.primary.against) == PRIMARY


@of(PUBLISHED)
def test_a_study_as_published_has_the_released_settings_and_says_that_decay_is_unequal(path):
    spec = load_spec(path)
    assert (spec.epochs, spec.batch_size, spec.points) == (200, 128, 0)
    assert (spec.schedule, spec.final_fraction) == ("cosine", 0.001)
    arms = [arm for block in spec.block for arm in block.arm]
    assert {arm.args["lr"] for arm in arms} == {1e-2}
    assert {arm.args.get("switch_rate", 8e-5) for arm in arms} == {8e-5}
    decay = {arm.name: block.weight_decay for block in spec.block for arm in block.arm}
    without = dict.fromkeys(("Adam", "Adam + warm-up", "NAdam", "DualAdam"), 0.0)
    assert decay == without | {"AdamW": 0.01, "RAdam": 0.01}
    assert "The weight decay is unequal" in path.read_text()


@of(FAIR)
def test_a_fair_study_tunes_every_arm_and_gives_dualadam_and_its_control_the_same_ranges(path):
    spec = load_spec(path)
    for block in spec.block:
        ranges = {arm.name: arm.tune for arm in block.arm}
        assert all("lr" in tuned for tuned in ranges.values())
        control = "Adam + warm-up" if block.weight_decay == 0 else "AdamW + warm-up"
        assert ranges["DualAdam"] == ranges[control]
        low, _ = ranges["DualAdam"]["switch_rate"]
        # the slowest hand-over takes half of the run; the file has two digits
        assert spec.total_steps * low >= 1.99


@of(LANGUAGE)
def test_a_study_of_a_language_model_fits_its_hand_over_and_has_a_smoke_test(path):
    spec = load_spec(path)
    parameters = "lora" if path.stem.endswith("lora") else "full"
    assert (spec.model, spec.fine_tuning.parameters) == ("smollm2-135m-instruct", parameters)
    assert make_plan(spec).num_runs > 50
    ranges = {arm.name: arm.tune for arm in spec.primary_block.arm}
    assert ranges["DualAdam"] == ranges["Adam + warm-up"]
    low, _ = ranges["DualAdam"]["switch_rate"]
    # the slowest hand-over takes half of the run; the file has one digit
    assert spec.total_steps * low >= 1.98
    smoke = smoke_test(spec)
    assert {arm.name for block in smoke.block for arm in block.arm} == set(PRIMARY)
    assert (smoke.model, smoke.task) == (spec.model, spec.task)
    assert smoke.fine_tuning.parameters == parameters


def test_there_are_studies_of_full_and_low_rank_fine_tuning_on_problems_and_of_sentiment():
    names = ["smollm2-gsm8k_full", "smollm2-gsm8k_lora", "smollm2-sentiment"]
    assert [path.stem for path in LANGUAGE] == names


def test_the_shortened_study_hands_over_at_16_percent_and_says_that_it_is_shortened():
    spec = load_spec(next(path for path in SPECS if path.stem.endswith("_shortened")))
    for name in PRIMARY:
        rate = spec.primary_block.find(name).args["switch_rate"]
        assert 1 / rate / spec.total_steps == pytest.approx(0.16, abs=0.005)
    assert "shortened" in spec.title


@of(STATES)
def test_a_study_of_a_state_compares_it_with_float32_and_nothing_else_differs(path):
    spec = load_spec(path)
    stored = path.stem.split("_")[1].removesuffix("-state")
    of_state, full = (
        spec.primary_block.find(name) for name in (spec.primary.arm, spec.primary.against)
    )
    rounded = {"state_dtype": stored, "stochastic_rounding": True}
    assert of_state.args == full.args | rounded
    assert of_state.optimizer == full.optimizer == "DualAdam"
    assert (spec.points, spec.seeds >= 10) == (0, True)


@of(STUDIES)
def test_a_study_of_the_evidence_page_gives_every_arm_of_a_block_the_same_budget(path):
    spec = load_spec(path)
    assert spec.points == 8
    for block in spec.block:
        assert "+warmup" in "".join(arm.optimizer for arm in block.arm)
        learning_rates = {tuple(arm.tune["lr"]) for arm in block.arm if arm.optimizer != "InvAdam"}
        assert len(learning_rates) == 1
