"""The tasks that models are trained on: data, model, loss and metrics behind one protocol.

Importing it needs torch and NumPy alone. The libraries of a task are imported when it is loaded.
"""

from dualadam.tasks.protocol import FineTuning, Metric, Scores, Split, Task, TaskEntry
from dualadam.tasks.registry import TASKS, check_data, check_device, get_task, synthetic_task

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
