"""What a run and the weights made of it record: the data that taught the network, and the work that it took."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from training.run_folder.digests import Digests
from training.run_folder.provenance import Provenance


@dataclass(frozen=True)
class Counters:
    """The work of one run: steps, images seen (an image counts each time), seconds of processor time."""

    steps: int = 0
    images_seen: int = 0
    cpu_seconds: float = 0.0


@dataclass(frozen=True)
class RunFacts:
    """What is known of the data.

    `rows` counts the training rows of each task; `means` are their mean boxes and points in 0..1 of the image. Both
    keep the entries of the network that the run began with, which had seen `images_before` images. `dev` holds the
    official scores on the dev rows by task.
    """

    images_before: int = 0
    rows: Mapping[str, int] = field(default_factory=dict)
    means: Mapping[str, Sequence[float]] = field(default_factory=dict)
    digests: Digests = field(default_factory=Digests)
    provenance: Provenance = field(default_factory=Provenance)
    dev: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def continued(
        self, work: Counters, rows: Mapping[str, int], means: Mapping[str, Sequence[float]], digests: Digests
    ) -> "RunFacts":
        """Return the facts of a run that begins with this network, which took `work`, on data of its own."""
        provenance = self.provenance
        if self.digests.rows != digests.rows:
            provenance = provenance.after(self.rows, rows)
        return RunFacts(
            images_before=self.images_before + work.images_seen,
            rows={**self.rows, **rows},
            means={**self.means, **means},
            digests=digests,
            provenance=provenance,
        )

    def as_table(self) -> dict[str, Any]:
        """Return plain data, to be read by `from_table`."""
        return asdict(self)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> "RunFacts":
        """Inverse of `as_table`. Raises KeyError or TypeError if entries are missing or unknown."""
        parts = {"digests": Digests(**table["digests"]), "provenance": Provenance.from_table(table["provenance"])}
        return cls(**{**table, **parts})
