"""The comparison: a spec, its plan, its runs, its report.

``Problem`` and ``Metric`` describe a training of your own and need torch alone.
"""

from dualadam.tasks import Metric, Problem

__all__ = ["Metric", "Problem"]
