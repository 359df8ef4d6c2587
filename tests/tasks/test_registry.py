"""Tasks are found by name, and importing them needs torch and NumPy alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import dualadam
from dualadam.errors import InvalidValueError, MissingExtraError
from dualadam.tasks import TASKS, check_data, check_device, get_task, synthetic_task
from dualadam.tasks.files import cache_folder
from dualadam.tasks.images.models import MODELS
from dualadam.tasks.language.pretrained import PACKAGED


def run_python(code: str) -> str:
    environment = {"PYTHONPATH": str(Path(dualadam.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_tasks_loads_no_library_beyond_torch_and_numpy():
    code = (
        "import sys, torch, numpy; before = set(sys.modules); import dualadam.tasks; "
        "print(*{name.partition('.')[0] for name in set(sys.modules) - before})"
    )
    third_party = set(run_python(code).split()) - set(sys.stdlib_module_names)
    assert third_party == {"dualadam"}


def test_images_in_memory_are_trained_and_scored_with_torch_and_numpy_alone():
    run_python(
        """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"sklearn", "scipy", "PIL", "transformers", "platformdirs"}:
            raise ImportError(f"{name} is not here")
sys.meta_path.insert(0, Blocker())
import torch
from dualadam.tasks import synthetic_task
task = synthetic_task("cifar10", batch_size=4)
model = task.make_model("small-cnn")
for batch in task.batches(4, torch.Generator(), augment=True):
    task.loss(model, batch).backward()
assert task.evaluate(model, "test").metrics.keys() == {"accuracy"}
"""
    )


@pytest.mark.parametrize("name", TASKS)
def test_an_entry_has_its_name_known_models_and_a_deciding_metric(name):
    entry = TASKS[name]
    assert entry.name == name
    assert set(entry.models) <= {*MODELS, *PACKAGED}
    assert entry.metrics
    assert all(entry.takes(model) for model in entry.models)
    assert entry.takes("owner/model") is (entry.language is not None)


@pytest.mark.parametrize("name", [name for name in TASKS if TASKS[name].language is None])
def test_a_synthetic_task_has_the_shape_of_the_images(name):
    task = synthetic_task(name, batch_size=2)
    if name == "image-folder":
        assert task is None
    else:
        ((images, labels), _) = task.batches(2, torch.Generator(), augment=False)
        assert (images.shape, labels.shape) == ((2, *TASKS[name].shape), (2,))


def test_unknown_names_of_tasks_and_devices_are_refused():
    with pytest.raises(InvalidValueError, match=r"^task must be one of digits, .*, got 'nothing'"):
        get_task("nothing")
    with pytest.raises(InvalidValueError, match=r"^device must be .*, got 'nothing': "):
        check_device("nothing")
    check_device("cpu")


@pytest.mark.parametrize(
    ("library", "call", "sentence"),
    [
        ("sklearn", lambda: check_data("digits"), "The digits need scikit-learn: pip install "),
        ("platformdirs", cache_folder, "The cache needs platformdirs: pip install .* DUALADAM_CA"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(monkeypatch, library, call, sentence):
    monkeypatch.setitem(sys.modules, library, None)
    monkeypatch.delenv("DUALADAM_CACHE", raising=False)
    with pytest.raises(MissingExtraError, match=f"^{sentence}"):
        call()


def test_the_environment_names_the_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("DUALADAM_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path


@pytest.mark.integration
def test_the_cache_is_in_the_users_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("DUALADAM_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder().name == "dualadam"
