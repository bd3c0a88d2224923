"""Whether a submission is valid, and how it is packed."""
