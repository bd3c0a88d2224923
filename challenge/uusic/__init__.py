"""UUSIC 2025, the second challenge: its list, its answers, which head answers what (contract, section 2)."""
