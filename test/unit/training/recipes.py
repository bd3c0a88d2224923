"""A recipe that runs in seconds on a small phantom folder with one task of each kind."""

from typing import Any

from training.config import Config, from_dict

TASKS = ("breast_lesion", "breast_2cls", "breast_lesion_det", "fetal_head_biometry")
"""One of each kind; three of them share their images."""

TINY: dict[str, dict[str, Any]] = {
    "system": {"options": {"encoder": "test_efficientnet", "pyramid_channels": 32, "segmentation_channels": 32}},
    "data": {"image_size": 64, "dev_fraction": 0.3},
    "optim": {"images": 48, "batch_size": 4, "warmup_steps": 1, "ema_decay": 0.5},
    "runtime": {"cache_gigabytes": 0.1, "device": "cpu"},
}


def tiny_config(**sections: Any) -> Config:
    """The tiny recipe; keyword arguments are laid over its sections or are top-level keys."""
    table: dict[str, Any] = {name: dict(values) for name, values in TINY.items()}
    for name, values in sections.items():
        table[name] = {**table.get(name, {}), **values} if isinstance(values, dict) else values
    return from_dict(table)
