"""All tasks by name, and how one is loaded."""

from __future__ import annotations

import functools

import torch

from dualadam.errors import InvalidValueError
from dualadam.tasks.images.cifar import CIFAR10, CIFAR100
from dualadam.tasks.images.digits import DIGITS
from dualadam.tasks.images.fashion_mnist import FASHION_MNIST
from dualadam.tasks.images.image_folder import IMAGE_FOLDER
from dualadam.tasks.images.imagenet import IMAGENET
from dualadam.tasks.images.tiny_imagenet import TINY_IMAGENET
from dualadam.tasks.language.bbc_news import BBC_NEWS
from dualadam.tasks.language.gsm8k import GSM8K
from dualadam.tasks.language.gsm_symbolic import GSM_SYMBOLIC
from dualadam.tasks.language.newsgroups import NEWSGROUPS
from dualadam.tasks.language.own_texts import JSONL_CLASSIFICATION, JSONL_GENERATION
from dualadam.tasks.language.rotten_tomatoes import ROTTEN_TOMATOES
from dualadam.tasks.own import HERE, Source, is_reference, own_task
from dualadam.tasks.protocol import FineTuning, LoadOptions, Task, TaskEntry

TASKS: dict[str, TaskEntry] = {
    entry.name: entry
    for entry in (
        DIGITS,
        FASHION_MNIST,
        CIFAR10,
        CIFAR100,
        TINY_IMAGENET,
        IMAGENET,
        IMAGE_FOLDER,
        BBC_NEWS,
        ROTTEN_TOMATOES,
        NEWSGROUPS,
        JSONL_CLASSIFICATION,
        GSM8K,
        GSM_SYMBOLIC,
        JSONL_GENERATION,
    )
}


def find_task(name: str, source: Source = HERE) -> TaskEntry:
    """Return the entry of a built-in task, or of the user's own.

    Args:
        name: a key of ``TASKS``, or a reference: "file.py:function" or "module:function".
        source: where a reference leads.

    Raises:
        DualAdamError: there is no task of this name, or the user's function fails.
    """
    if name in TASKS:
        return TASKS[name]
    if source.pickled is not None or is_reference(name):
        return own_task(name, source)
    raise InvalidValueError(
        f"task must be one of {', '.join(TASKS)}, or FILE.py:FUNCTION for one of your own, "
        f"got {name!r}."
    )


@functools.lru_cache(maxsize=2)
def get_task(
    name: str,
    data: str | None = None,
    subset: int | None = None,
    device: str = "cpu",
    precision: str = "float32",
    language: FineTuning | None = None,
    evaluate_at_most: int | None = None,
    evaluation_batch_size: int | None = None,
    source: Source = HERE,
) -> Task:
    """Load a task, once per process.

    Args:
        name: as for ``find_task``.
        data: the folder with the data sets; None takes the environment variable DUALADAM_DATA.
        subset: number of training examples, a fixed stratified sample; None takes all.
        device: where model and data live.
        precision: "float32", or "bfloat16" for autocast of the forward pass.
        language: the model of a language task and how it is trained; None takes the task's first
            model and the defaults.
        evaluate_at_most: examples of the validation and of the test split that are scored, at most;
            None scores all.
        evaluation_batch_size: examples of one forward pass when a task is scored, at most.
        source: where the name of a task of the user's own leads.

    Raises:
        InvalidValueError: there is no task of this name, or its data is damaged.
        MissingFileError: the data is not there; the message says what is expected where.
        MissingExtraError: a library that the task needs is not installed.
    """
    entry = find_task(name, source)
    task = entry.load(LoadOptions(data, subset, device, precision, language, evaluation_batch_size))
    if evaluate_at_most is not None:
        task.limit_evaluation(evaluate_at_most)
    return task


def forget_own_task(name: str) -> None:
    """Have the next ``get_task`` call a user's function again; a built-in task stays loaded."""
    if name not in TASKS:
        own_task.cache_clear()
        get_task.cache_clear()


def check_data(
    name: str, data: str | None = None, language: FineTuning | None = None
) -> tuple[str, ...]:
    """Check that a task's data, libraries and model are there.

    Images are read, or listed where they are files. Texts are not read, since only ``get_task``
    needs the time to tokenise them.

    Returns:
        Notes for the user, a sentence each.

    Raises:
        InvalidValueError: an image data set is damaged, or has one class alone.
        MissingFileError: the data or the model is not there; the message says what is expected
            where, and how to get it.
        MissingExtraError: a library that the task needs is not installed.
    """
    # the data of a user's own task is in its function
    return TASKS[name].check(data, language) if name in TASKS else ()


def check_device(device: str) -> None:
    """Check that torch can use a device on this machine.

    Raises:
        InvalidValueError: torch cannot make a tensor there; the message has torch's reason.
    """
    try:
        torch.zeros((), device=device).item()
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise InvalidValueError(
            f"device must be one that torch has here, such as cpu, got {device!r}: "
            f"{str(error).splitlines()[0]}"
        ) from error


def synthetic_task(
    name: str,
    batch_size: int,
    device: str = "cpu",
    precision: str = "float32",
    language: FineTuning | None = None,
    source: Source = HERE,
) -> Task | None:
    """Return a task of noise with the shapes of a data set, for timing a step without the data.

    Returns:
        The task; None where the shapes depend on the user's data.
    """
    options = LoadOptions(device=device, precision=precision, language=language)
    return find_task(name, source).synthetic(batch_size, options)
