"""What people look at: report, comparison, gallery."""
