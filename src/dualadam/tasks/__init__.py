"""The tasks that models are trained on: data, model, loss and metrics behind one protocol.

Importing it needs torch and NumPy alone. The libraries of a task are imported when it is loaded.
"""

from dualadam.tasks.own import (
    HERE,
    ProblemEntry,
    Source,
    fingerprint,
    is_reference,
    load_function,
)
from dualadam.tasks.pickled import pickled_source
from dualadam.tasks.problem import Problem
from dualadam.tasks.protocol import (
    FineTuning,
    LoadOptions,
    Metric,
    Scores,
    Split,
    Task,
    TaskEntry,
)
from dualadam.tasks.registry import (
    TASKS,
    check_data,
    check_device,
    find_task,
    forget_own_task,
    get_task,
    synthetic_task,
)
from dualadam.tasks.structure import map_tensors, num_rows, split_rows, tensors_of

__all__ = [
    "HERE",
    "TASKS",
    "FineTuning",
    "LoadOptions",
    "Metric",
    "Problem",
    "ProblemEntry",
    "Scores",
    "Source",
    "Split",
    "Task",
    "TaskEntry",
    "check_data",
    "check_device",
    "find_task",
    "fingerprint",
    "forget_own_task",
    "get_task",
    "is_reference",
    "load_function",
    "map_tensors",
    "num_rows",
    "pickled_source",
    "split_rows",
    "synthetic_task",
    "tensors_of",
]
