"""The studies in benchmarks/specs are whole: they can be planned without data, and say what they are."""

from pathlib import Path

import pytest

from dualadam.compare.plan import make_plan
from dualadam.compare.spec_file import load_spec

SPECS = sorted((Path(__file__).parents[2] / "benchmarks" / "specs").glob("*.toml"))
LANGUAGE = [path for path in SPECS if path.stem.startswith("smollm2-")]
PUBLISHED = [path for path in SPECS if path.stem.endswith("_as-published")]
FAIR = [path for path in SPECS if path.stem.endswith("_fair")]


def test_each_data_set_of_the_paper_has_a_study_as_published_and_a_fair_one():
    for kind in (PUBLISHED, FAIR):
        assert {load_spec(path).task for path in kind} == {
            "fashion-mnist",
            "cifar10",
            "cifar100",
            "tiny-imagenet",
            "imagenet",
        }
        models = {load_spec(path).model for path in kind if path.name.startswith("cifar10_")}
        assert models == {"resnet18", "resnet50", "vgg16-bn", "vit"}


@pytest.mark.parametrize("path", PUBLISHED + FAIR, ids=lambda path: path.stem)
def test_a_study_is_planned_without_data_or_warning_and_its_file_name_says_what_it_is(path):
    spec = load_spec(path)
    task, model, kind = path.stem.split("_")
    assert (spec.task, spec.model, spec.name) == (task, model, f"{task}-{model}-{kind}")
    assert spec.warnings() == []
    assert make_plan(spec).num_runs > 0
    assert (spec.primary.arm, spec.primary.against) == ("DualAdam", "Adam + warm-up")


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_a_study_as_published_has_the_released_numbers_and_says_that_decay_is_unequal(path):
    spec = load_spec(path)
    assert (spec.epochs, spec.batch_size, spec.schedule, spec.final_fraction, spec.points) == (
        200,
        128,
        "cosine",
        0.001,
        0,
    )
    assert {arm.args["lr"] for block in spec.block for arm in block.arm} == {1e-2}
    assert {
        arm.args["switch_rate"]
        for block in spec.block
        for arm in block.arm
        if "switch_rate" in arm.args
    } == {8e-5}
    decay = {arm.name: block.weight_decay for block in spec.block for arm in block.arm}
    assert decay == {
        "Adam": 0.0,
        "Adam + warm-up": 0.0,
        "NAdam": 0.0,
        "DualAdam": 0.0,
        "AdamW": 0.01,
        "RAdam": 0.01,
    }
    assert "The weight decay is unequal" in path.read_text()


@pytest.mark.parametrize("path", FAIR, ids=lambda path: path.stem)
def test_a_fair_study_tunes_every_arm_and_gives_dualadam_and_its_control_the_same_ranges(path):
    spec = load_spec(path)
    for block in spec.block:
        ranges = {arm.name: arm.tune for arm in block.arm}
        assert all("lr" in tuned for tuned in ranges.values())
        control = "Adam + warm-up" if block.weight_decay == 0 else "AdamW + warm-up"
        assert ranges["DualAdam"] == ranges[control]
        low, _ = ranges["DualAdam"]["switch_rate"]
        assert (
            spec.total_steps * low >= 1.99
        )  # the slowest hand-over takes half of the run; two digits in the file


@pytest.mark.parametrize("path", LANGUAGE, ids=lambda path: path.stem)
def test_a_study_of_a_language_model_is_planned_fits_its_hand_over_and_becomes_a_smoke_test_of_two_arms(
    path,
):
    spec = load_spec(path)
    assert (spec.model, spec.language.parameters) == (
        "smollm2-135m-instruct",
        "lora" if path.stem.endswith("lora") else "full",
    )
    assert spec.warnings() == []
    assert make_plan(spec).num_runs > 50
    ranges = {arm.name: arm.tune for arm in spec.primary_block.arm}
    assert ranges["DualAdam"] == ranges["Adam + warm-up"]
    low, _ = ranges["DualAdam"]["switch_rate"]
    assert (
        spec.total_steps * low >= 1.98
    )  # the slowest hand-over takes half of the run; one digit in the file
    smoke = spec.smoke_test()
    assert {arm.name for block in smoke.block for arm in block.arm} == {
        "DualAdam",
        "Adam + warm-up",
    }
    assert (smoke.model, smoke.task, smoke.language.parameters) == (
        spec.model,
        spec.task,
        spec.language.parameters,
    )


def test_there_are_studies_of_full_and_low_rank_fine_tuning_on_problems_and_of_sentiment():
    assert [path.stem for path in LANGUAGE] == [
        "smollm2-gsm8k_full",
        "smollm2-gsm8k_lora",
        "smollm2-sentiment",
    ]


def test_the_shortened_study_hands_over_at_16_percent_and_says_that_it_is_shortened():
    spec = load_spec(next(path for path in SPECS if path.stem.endswith("_shortened")))
    arms = {arm.name: arm for arm in spec.primary_block.arm}
    for name in ("DualAdam", "Adam + warm-up"):
        assert 1 / arms[name].args["switch_rate"] / spec.total_steps == pytest.approx(
            0.16, abs=0.005
        )
    assert "shortened" in spec.title
    assert spec.warnings() == []


STUDIES = [path for path in SPECS if path.stem.endswith(("_study", "_regime"))]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_of_the_evidence_page_gives_every_arm_of_a_block_the_same_budget_and_fits_its_hand_over(
    path,
):
    spec = load_spec(path)
    assert spec.points == 8
    assert spec.warnings() == []
    for block in spec.block:
        assert "+warmup" in "".join(arm.optimizer for arm in block.arm)
        learning_rates = {tuple(arm.tune["lr"]) for arm in block.arm if arm.optimizer != "InvAdam"}
        assert len(learning_rates) == 1
