"""Describes a data folder: counts, pictures, faults; and writes a copy without the faults."""

from training.data.usable import Finding, Level
from training.inspection.checks import Inspection, inspect_folder
from training.inspection.cleaning import write_clean_folder
from training.inspection.summary import summary_lines, write_findings

__all__ = [
    "Finding",
    "Inspection",
    "Level",
    "inspect_folder",
    "summary_lines",
    "write_clean_folder",
    "write_findings",
]
