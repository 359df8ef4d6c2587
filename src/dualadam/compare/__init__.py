"""The comparison of optimizers: a spec, its plan, its runs, its report.

``compare`` makes a whole study from one call. ``Problem`` and ``Metric`` describe a training of
your own and need torch alone. The other names are the steps of a study. A name's libraries are
imported with its first use.

Example:
    >>> from dualadam.compare import load_spec, make_plan
    >>> plan = make_plan(load_spec("digits"))
    >>> plan.num_tuning_runs, plan.num_runs
    (48, 78)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from dualadam.compare.check import check_spec
    from dualadam.compare.execution import execute, open_study, read_records
    from dualadam.compare.plan import make_plan
    from dualadam.compare.python import compare
    from dualadam.compare.replayed import ReplayedSchedule
    from dualadam.compare.report import write_report
    from dualadam.compare.result import Result
    from dualadam.compare.run import Record, Run
    from dualadam.compare.shadow_result import ShadowPoint, ShadowResult
    from dualadam.compare.shadowing import Shadow, shadow
    from dualadam.compare.spec import Spec
    from dualadam.compare.spec_file import load_spec
    from dualadam.compare.summary import summarise
    from dualadam.compare.trial import Trial
    from dualadam.tasks import Metric, Problem

__all__ = [
    "Metric",
    "Problem",
    "Record",
    "ReplayedSchedule",
    "Result",
    "Run",
    "Shadow",
    "ShadowPoint",
    "ShadowResult",
    "Spec",
    "Trial",
    "check_spec",
    "compare",
    "execute",
    "load_spec",
    "make_plan",
    "open_study",
    "read_records",
    "shadow",
    "summarise",
    "write_report",
]

# Training needs torch and NumPy alone; the other libraries are imported with what needs them.
_MODULES = {
    "Metric": "dualadam.tasks",
    "Problem": "dualadam.tasks",
    "Record": "dualadam.compare.run",
    "ReplayedSchedule": "dualadam.compare.replayed",
    "Result": "dualadam.compare.result",
    "Run": "dualadam.compare.run",
    "Shadow": "dualadam.compare.shadowing",
    "ShadowPoint": "dualadam.compare.shadow_result",
    "ShadowResult": "dualadam.compare.shadow_result",
    "Spec": "dualadam.compare.spec",
    "Trial": "dualadam.compare.trial",
    "check_spec": "dualadam.compare.check",
    "compare": "dualadam.compare.python",
    "execute": "dualadam.compare.execution",
    "load_spec": "dualadam.compare.spec_file",
    "make_plan": "dualadam.compare.plan",
    "open_study": "dualadam.compare.execution",
    "read_records": "dualadam.compare.execution",
    "shadow": "dualadam.compare.shadowing",
    "summarise": "dualadam.compare.summary",
    "write_report": "dualadam.compare.report",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULES[name]), name)
