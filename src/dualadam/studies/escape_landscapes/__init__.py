"""Escape times of the shipped optimizers on model landscapes, beside theory and exact quadrature.

Theory and results: docs/theory.md. ``run`` measures, judges and writes; one experiment is one file
of ``experiments/``.
"""

from dualadam.studies.escape_landscapes.effort import FULL, QUICK, Effort
from dualadam.studies.escape_landscapes.report import EscapeReport
from dualadam.studies.escape_landscapes.study import redraw, run

__all__ = ["FULL", "QUICK", "Effort", "EscapeReport", "redraw", "run"]
