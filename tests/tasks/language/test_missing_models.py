"""A model that is not there or damaged is refused in a sentence with its name."""

from __future__ import annotations

import json
import shutil

import pytest
from language_model_cases import tuned

from dualadam.errors import InvalidValueError, MissingFileError
from dualadam.tasks.language.models import load_model
from dualadam.tasks.language.pretrained import check_model, load_tokenizer

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
]


@pytest.mark.parametrize(
    "name",
    [
        "./nowhere",
        "/no/where",
        "~/nowhere",
        "~no-such-user/model",
        "models/of/mine",
        r"C:\models\mine",
        "two words/model",
        "../../x",
        "--/--",
    ],
)
def test_a_path_without_a_model_is_refused_before_the_hub_is_asked(name):
    with pytest.raises(MissingFileError) as refused:
        check_model(tuned(name))
    assert str(refused.value) == (
        "model must be a folder with config.json, weights and tokenizer, or OWNER/NAME on the hub, "
        f"got {name!r}."
    )


def test_a_folder_that_is_no_model_is_not_looked_for_on_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "owner" / "name").mkdir(parents=True)
    with pytest.raises(MissingFileError, match=r"^model must be a folder .*, got 'owner/name'\.$"):
        check_model(tuned("owner/name"))
    check_model(tuned("another/name"))


def test_a_name_that_is_not_on_the_hub_is_refused(monkeypatch):
    # the environment variable sets this at import
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    check_model(tuned("no/such-model"))
    with pytest.raises(
        InvalidValueError, match=r"^model must be a whole folder, .*'no/such-model'"
    ):
        load_tokenizer("no/such-model")


def cut(file):
    file.write_bytes(file.read_bytes()[:500])


DAMAGE = {
    "truncated weights": lambda folder: cut(folder / "model.safetensors"),
    "empty weights": lambda folder: (folder / "model.safetensors").write_bytes(b""),
    "no weights": lambda folder: (folder / "model.safetensors").unlink(),
    "a configuration cut off": lambda folder: (folder / "config.json").write_text("{"),
    "an empty configuration": lambda folder: (folder / "config.json").write_text("{}"),
    "a list as configuration": lambda folder: (folder / "config.json").write_text("[1]"),
    "an unknown architecture": lambda folder: (folder / "config.json").write_text(
        json.dumps({"model_type": "nothing"})
    ),
    "a tokenizer cut off": lambda folder: (folder / "tokenizer.json").write_text("{"),
    "an empty tokenizer": lambda folder: (folder / "tokenizer.json").write_text("{}"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_folder_is_refused_in_one_line(tmp_path, tiny_models, damage):
    folder = shutil.copytree(tiny_models["bert"], tmp_path / "model")
    DAMAGE[damage](folder)
    check_model(tuned(folder))
    with pytest.raises(InvalidValueError) as refused:
        load_model(tuned(folder), 3, "cpu")
    assert str(refused.value).startswith("model must be a whole folder, or ")
    assert f"got '{folder}': " in str(refused.value)
    assert "\n" not in str(refused.value)
