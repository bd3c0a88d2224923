"""The engine answers the batches: in this process, or on a Ray cluster."""

import logging
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from challenge.errors import UserError, WeightsError
from challenge.manifest import Sample
from model.frozen.ensemble import network_of
from model.frozen.loading import Batch
from model.frozen.metadata import WeightsMetadata, read_metadata, verify
from model.frozen.options import Options
from model.frozen.pipeline import Answer, Pipeline
from model.frozen.runtimes.base import Runtime
from model.frozen.runtimes.choose import open_runtime

logger = logging.getLogger(__name__)


class Engine(Protocol):
    """Answers batches."""

    def run(
        self,
        batches: Sequence[Batch],
        consume: Callable[[Answer], None],
        stop: Callable[[], bool],
        announce: Callable[[Batch], None],
    ) -> Iterator[Sample]:
        """See `Pipeline.run`."""
        ...

    def close(self) -> None:
        """Release the engine's resources."""
        ...


@dataclass(frozen=True)
class Description:
    """What an engine uses: its device and precision, and either its runtime (this process) or its workers (Ray)."""

    device: str
    """`cpu` or `cuda`; of a cluster every kind that it has, separated by commas."""
    precision: str
    runtime: str | None = None
    providers: tuple[str, ...] = ()
    workers: Sequence[Mapping[str, Any]] = ()
    """Node, process, device, runtime, providers and precision of each worker."""

    @classmethod
    def of_runtime(cls, runtime: Runtime) -> "Description":
        """Describe an engine in this process."""
        return cls(runtime.device, runtime.precision, runtime.name, runtime.providers)

    @classmethod
    def of_workers(cls, workers: Sequence[Mapping[str, Any]]) -> "Description":
        """Describe an engine on a cluster. Raises UserError if its workers compute in different precisions."""
        precision, *others = sorted({worker["precision"] for worker in workers})
        if others:
            raise UserError(
                f"some workers compute in {precision}, some in {', '.join(others)}; "
                "name one with --precision, so that no answer depends on which worker gave it"
            )
        return cls(", ".join(sorted({worker["device"] for worker in workers})), precision, workers=workers)


def open_engine(
    metadata: WeightsMetadata, data_root: Path, options: Options, weights_sha256: str
) -> tuple[Engine, Description]:
    """Return the engine that `options` ask for, ready to answer, and what it uses.

    `weights_sha256` is what `verify` returned; workers on other machines must hold the same weights. Raises UserError
    if the device, the precision or the cluster is not available.
    """
    if options.ray:
        return _open_ray(options.ray, data_root, options, weights_sha256)
    pipeline = open_pipeline(metadata, data_root, options)
    return pipeline, Description.of_runtime(pipeline.router.runtime)


def _open_ray(address: str, data_root: Path, options: Options, weights_sha256: str) -> tuple[Engine, Description]:
    from model.frozen.ray_engine import RayEngine

    here = replace(options, weights=options.weights.resolve())
    build = partial(_pipeline_of_node, data_root.resolve(), here, weights_sha256)
    engine = RayEngine(address, build, gpu=options.device != "cpu")
    try:
        description = Description.of_workers(engine.workers)
    except UserError:
        engine.close()
        raise
    logger.info("%d workers on a Ray cluster, %s", len(engine.workers), description.device)
    return engine, description


def open_pipeline(metadata: WeightsMetadata, data_root: Path, options: Options) -> Pipeline:
    """Return what answers in this process. Raises UserError if the device or the precision is not available."""
    runtime = open_runtime(options.weights, metadata, options.device, options.precision, options.tensorrt)
    router = network_of(metadata.with_priors(options.profile.own_tasks), runtime)
    level = options.postprocess or metadata.default_postprocess
    return Pipeline(router, data_root, options.batch_size, options.mask_resize, level, options.soft_masks is not None)


def _pipeline_of_node(data_root: Path, options: Options, weights_sha256: str) -> Pipeline:
    metadata = read_metadata(options.weights)
    if verify(metadata, options.weights) != weights_sha256:
        raise WeightsError(
            f"{options.weights} on {platform.node()} holds other weights; copy the same weights to all nodes"
        )
    return open_pipeline(metadata, data_root, options)
