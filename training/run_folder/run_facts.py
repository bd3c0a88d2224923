"""What a run knows of itself before its first step, and what its checkpoints and weights record."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from training.run_folder.digests import Digests
from training.run_folder.provenance import Provenance
from training.run_folder.trainable import Start


def facts_of(
    start: Start | None, sizes: Mapping[str, int], means: Mapping[str, Sequence[float]], digests: Digests
) -> dict[str, Any]:
    """Return images seen before, training rows per task, mean boxes and points, digests, provenance.

    What the network to `start` with recorded of tasks that are not trained now stays.
    """
    before = start.facts if start else {}
    recorded, provenance = Digests.recorded(before), Provenance.recorded(before)
    if recorded is None or recorded.rows != digests.rows:
        provenance = provenance.after(before.get("rows", {}), sizes)
    return {
        "images_before": sum(before.get(key, 0) for key in ("images_before", "images_seen")),
        "rows": {**before.get("rows", {}), **sizes},
        "means": {**before.get("means", {}), **means},
        "digests": asdict(digests),
        "provenance": provenance.as_facts(),
    }
