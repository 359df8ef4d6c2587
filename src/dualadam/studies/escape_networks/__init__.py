"""Escape from the minima of a small network: does the diffusion theory describe it?

The design and the rules of the verdicts are in docs/decisions/0023-escape-from-a-network.md. Each
finished piece of the study is a row, one line of rows.jsonl; claims, tables and figures follow
from the rows.
"""

from dualadam.studies.escape_networks.claims import Claim, Table
from dualadam.studies.escape_networks.report import REPORT_FILES, all_claims, write_report
from dualadam.studies.escape_networks.settings import FULL, QUICK, Settings
from dualadam.studies.escape_networks.study import StudyRows, read_rows, run_study

__all__ = [
    "FULL",
    "QUICK",
    "REPORT_FILES",
    "Claim",
    "Settings",
    "StudyRows",
    "Table",
    "all_claims",
    "read_rows",
    "run_study",
    "write_report",
]
