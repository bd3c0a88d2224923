"""The HTML pages: report, comparison, gallery."""
