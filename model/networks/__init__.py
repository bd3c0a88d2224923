"""The networks: encoders, decoders, heads and the systems that join them. Needs torch."""

from model.networks.registry import build, list_systems

__all__ = ["build", "list_systems"]
