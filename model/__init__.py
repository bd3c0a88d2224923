"""Networks (torch, for training) and the frozen runtime (no torch, for the container). Neither imports the other.

`from model import Model` gives the class that the organisers' scripts look for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from model.frozen.interface import Model

__all__ = ["Model"]


def __getattr__(name: str) -> Any:
    """Load `Model` when it is asked for: training imports this package too and has no use for the runtime."""
    if name == "Model":
        from model.frozen.interface import Model

        return Model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
