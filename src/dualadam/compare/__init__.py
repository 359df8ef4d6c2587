"""The comparison of optimizers: a spec, its plan, its runs, its report.

``compare`` makes a whole study from one call. ``Problem`` and ``Metric`` describe a training of
your own and need torch alone. The other names are the steps of a study.

Example:
    >>> from dualadam.compare import load_spec, make_plan
    >>> plan = make_plan(load_spec("digits"))
    >>> plan.num_tuning_runs, plan.num_runs
    (48, 78)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dualadam.tasks import Metric, Problem

if TYPE_CHECKING:
    from dualadam.compare.check import check_spec
    from dualadam.compare.execution import execute, open_study, read_records
    from dualadam.compare.plan import make_plan
    from dualadam.compare.python import compare
    from dualadam.compare.report import write_report
    from dualadam.compare.result import Result
    from dualadam.compare.run import Record, Run
    from dualadam.compare.spec import Spec
    from dualadam.compare.spec_file import load_spec
    from dualadam.compare.summary import summarise
    from dualadam.compare.trial import Trial

__all__ = [
    "Metric",
    "Problem",
    "Record",
    "Result",
    "Run",
    "Spec",
    "Trial",
    "check_spec",
    "compare",
    "execute",
    "load_spec",
    "make_plan",
    "open_study",
    "read_records",
    "summarise",
    "write_report",
]

# A run needs torch and NumPy alone; the other libraries are imported with the names that need them.
_MODULES = {
    "Record": "run",
    "Result": "result",
    "Run": "run",
    "Spec": "spec",
    "Trial": "trial",
    "check_spec": "check",
    "compare": "python",
    "execute": "execution",
    "load_spec": "spec_file",
    "make_plan": "plan",
    "open_study": "execution",
    "read_records": "execution",
    "summarise": "summary",
    "write_report": "report",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
