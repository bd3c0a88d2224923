"""The comparison of runtimes changes one thing at a time."""

from dataclasses import asdict

import pytest

from bench.training.throughput import variants
from training.config import RuntimeConfig


@pytest.mark.parametrize(
    "base", [RuntimeConfig(), RuntimeConfig(channels_last=False, precision="bfloat16", compile=True)]
)
def test_every_variant_differs_in_one_setting(base):
    found = dict(variants(base))
    assert found.pop("as the recipe") == base
    changed = [
        [key for key, value in asdict(runtime).items() if value != asdict(base)[key]] for runtime in found.values()
    ]
    assert changed == [["channels_last"], ["precision"], ["compile"], ["cache_gigabytes"]]
