"""What is trained and judged: data, model, loss and metric behind one protocol."""

from __future__ import annotations

import functools
import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch

from dualadam.tasks.protocol import FineTuning, Metric, Scores, Split, Task

__all__ = [
    "TASKS",
    "FineTuning",
    "Metric",
    "Scores",
    "Split",
    "Task",
    "TaskEntry",
    "check_data",
    "check_device",
    "get_task",
    "synthetic_task",
]

ACCURACY = {"accuracy": Metric("%", of_examples=True)}


@dataclass(frozen=True)
class TaskEntry:
    """What is known of a task without its data."""

    summary: str
    models: tuple[str, ...]
    num_train: int | None  # examples of the training split (all of it); None: only the data tells
    factory: str  # "module:function", called with the keyword arguments of ``get_task``
    metrics: Mapping[str, Metric] = field(
        default_factory=lambda: ACCURACY
    )  # the first counts, unless a spec names another
    shape: tuple[int, ...] | None = None  # of one input: a step can be timed without data
    num_classes: int = 10
    language: Literal["classification", "generation"] | None = (
        None  # such a task takes a pretrained model, also one not in ``models``
    )

    def takes(self, model: str) -> bool:
        """Whether a model of this name is one of the task's; a folder or a name on the hub has a slash."""
        return model in self.models or (
            self.language is not None and ("/" in model or os.sep in model)
        )

    def steps_per_epoch(self, batch_size: int, subset: int | None) -> int | None:
        """Return the number of full batches in an epoch."""
        count = subset or self.num_train
        return None if count is None else count // batch_size


_LANGUAGE = "dualadam.tasks.language.build"
EXACT_MATCH = {"exact_match": Metric("%", of_examples=True)}
PERPLEXITY = {
    "perplexity": Metric("", higher_is_better=False, worst=1e5)
}  # guessing among a vocabulary's tokens is worth about this


def _classification(
    summary: str, num_train: int | None, factory: str, num_classes: int
) -> TaskEntry:
    metrics = ACCURACY | {"macro_f1": Metric("%")}
    models = ("minilm-l6", "smollm2-135m-instruct")
    return TaskEntry(
        summary,
        models,
        num_train,
        f"{_LANGUAGE}:{factory}",
        metrics,
        num_classes=num_classes,
        language="classification",
    )


def _generation(
    summary: str, num_train: int | None, factory: str, metrics: Mapping[str, Metric]
) -> TaskEntry:
    return TaskEntry(
        summary,
        ("smollm2-135m-instruct",),
        num_train,
        f"{_LANGUAGE}:{factory}",
        metrics,
        language="generation",
    )


IMAGE_MODELS = ("small-cnn", "resnet18", "resnet50", "vgg16-bn", "vit")
_IMAGES = "dualadam.tasks.images.task"
TASKS: dict[str, TaskEntry] = {
    "digits": TaskEntry(
        "1,797 handwritten digits, grey 8x8, 10 classes (inside scikit-learn)",
        ("small-cnn",),
        1078,
        f"{_IMAGES}:digits",
        shape=(1, 8, 8),
    ),
    "fashion-mnist": TaskEntry(
        "60,000 grey 28x28 pictures of clothes, 10 classes",
        IMAGE_MODELS,
        54_000,
        f"{_IMAGES}:fashion_mnist",
        shape=(1, 28, 28),
        num_classes=10,
    ),
    "cifar10": TaskEntry(
        "50,000 colour 32x32 photographs, 10 classes",
        IMAGE_MODELS,
        45_000,
        f"{_IMAGES}:cifar10",
        shape=(3, 32, 32),
        num_classes=10,
    ),
    "cifar100": TaskEntry(
        "50,000 colour 32x32 photographs, 100 classes",
        IMAGE_MODELS,
        45_000,
        f"{_IMAGES}:cifar100",
        shape=(3, 32, 32),
        num_classes=100,
    ),
    "tiny-imagenet": TaskEntry(
        "100,000 colour 64x64 photographs, 200 classes",
        IMAGE_MODELS,
        90_000,
        f"{_IMAGES}:tiny_imagenet",
        shape=(3, 64, 64),
        num_classes=200,
    ),
    "imagenet": TaskEntry(
        "ImageNet-1K at 224x224, 1,000 classes",
        IMAGE_MODELS,
        1_255_544,
        f"{_IMAGES}:imagenet",
        shape=(3, 224, 224),
        num_classes=1000,
    ),
    "image-folder": TaskEntry(
        "a folder of yours with train/CLASS and test/CLASS",
        IMAGE_MODELS,
        None,
        f"{_IMAGES}:image_folder",
    ),
    "bbc-news": _classification("2,125 news articles, 5 classes", 1275, "bbc_news", 5),
    "rotten-tomatoes": _classification(
        "12,752 snippets of film reviews, fresh or rotten, split by film",
        7565,
        "rotten_tomatoes",
        2,
    ),
    "20-newsgroups": _classification(
        "18,783 posts, 20 classes, the standard test split", 10_136, "newsgroups", 20
    ),
    "jsonl-classification": _classification(
        "train.jsonl of yours, lines of text and label", None, "jsonl_classification", 2
    ),
    "gsm8k": _generation(
        "8,792 school problems with worked solutions, the standard test split",
        7_099,
        "gsm8k",
        EXACT_MATCH | PERPLEXITY,
    ),
    "gsm-symbolic": _generation(
        "5,941 made from 85 templates, split by template",
        3_567,
        "gsm_symbolic",
        EXACT_MATCH | PERPLEXITY,
    ),
    "jsonl-generation": _generation(
        "train.jsonl of yours, prompt and response",
        None,
        "jsonl_generation",
        PERPLEXITY | EXACT_MATCH,
    ),
}


@functools.lru_cache(maxsize=2)
def get_task(
    name: str,
    data: str | None = None,
    subset: int | None = None,
    device: str = "cpu",
    precision: str = "float32",
    language: FineTuning | None = None,
    evaluate_at_most: int | None = None,
    at_once: int | None = None,
) -> Task:
    """Load a task once per process.

    Args:
        name: a key of ``TASKS``.
        data: the folder that holds the data sets, for tasks that need one; None takes the environment variable DUALADAM_DATA.
        subset: number of training examples to keep, stratified by class and seeded; None keeps all.
        device: where model and data live.
        precision: "float32", or "bfloat16" for autocast of the forward pass.
        language: for language tasks, the model and how it is trained; None takes the first model and the defaults.
        evaluate_at_most: judge only so many examples of the validation and test splits; None: all.
        at_once: a language task judges so many examples in one forward pass at most; None leaves it to the task.

    Raises:
        ValueError: unknown name. FileNotFoundError: the data is not there; the message says what is expected where.
        ImportError: a language task without the extra ``llm``.
    """
    if name not in TASKS:
        raise ValueError(f"task must be one of {', '.join(TASKS)}, got {name!r}.")
    entry = TASKS[name]
    options: dict[str, Any] = (
        {"language": language or FineTuning(entry.models[0]), "at_once": at_once}
        if entry.language
        else {}
    )
    task: Task = _load(
        entry.factory, data=data, subset=subset, device=device, precision=precision, **options
    )
    if evaluate_at_most is not None:
        task.limit_evaluation(evaluate_at_most)
    return task


def check_device(device: str) -> None:
    """Refuse a device that this machine has not, before anything is loaded onto it.

    Raises:
        ValueError: torch cannot make a tensor there; the message has its reason.
    """
    try:
        torch.zeros((), device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ValueError(
            f"device must be one that torch has here, such as cpu, got {device!r}: {str(error).splitlines()[0]}"
        ) from error


def check_data(name: str, data: str | None = None, language: FineTuning | None = None) -> None:
    """See whether the data of a task are there, and a language task's libraries and model, without reading them.

    Raises:
        FileNotFoundError: they are not; the message says what is expected where, and how to get it.
        ImportError: a language task without the extra ``llm``.
    """
    from dualadam.tasks.images import files as image_files
    from dualadam.tasks.language import corpus as language_data
    from dualadam.tasks.language import models as language_models

    if TASKS[name].language:
        language_models.check(language or FineTuning(TASKS[name].models[0]))
        language_data.find(name, data)
    elif name in image_files.LAYOUTS:
        image_files.data_folder(data, name)


def synthetic_task(
    name: str,
    batch_size: int,
    device: str = "cpu",
    precision: str = "float32",
    language: FineTuning | None = None,
) -> Task | None:
    """Return a stand-in of noise with the shape of a task's data, for timing a step without them; None where the entry has no shape."""
    entry = TASKS[name]
    options: dict[str, Any] = {
        "batch_size": batch_size,
        "device": device,
        "precision": precision,
        "num_classes": entry.num_classes,
    }
    if entry.language:
        options |= {"kind": entry.language, "language": language or FineTuning(entry.models[0])}
    elif entry.shape is None:
        return None
    else:
        options["shape"] = entry.shape
    module = entry.factory.split(":")[0]
    task: Task = _load(f"{module}:synthetic", **options)
    return task


def _load(factory: str, **arguments: Any) -> Any:
    """Call "module:function", importing the module only now: a task's libraries are loaded for that task alone."""
    module, function = factory.split(":")
    return getattr(importlib.import_module(module), function)(**arguments)
