"""UUSIC 2025, the second challenge: its list, its answers, which head answers what (docs/reference/contract.md, 2)."""
