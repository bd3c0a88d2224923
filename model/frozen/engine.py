"""Who answers the batches: this process, or a cluster."""

import logging
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

from challenge.errors import UserError, WeightsError
from challenge.manifest import Sample
from model.frozen.facts import Facts, read_facts, verify
from model.frozen.loading import Batch
from model.frozen.options import Options
from model.frozen.pipeline import Answer, Pipeline
from model.frozen.router import Router
from model.frozen.run.report import RunReport
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
        """Give back what the engine holds."""
        ...


def open_engine(facts: Facts, data_root: Path, options: Options, report: RunReport) -> Engine:
    """Make ready who answers, and tell the report. Raises UserError if the device or the cluster cannot be had."""
    if options.ray:
        from model.frozen.ray_engine import RayEngine

        here = replace(options, weights=options.weights.resolve())
        build = partial(_pipeline_of_node, data_root.resolve(), here, report.weights["sha256"])
        engine = RayEngine(options.ray, build, gpu=options.device != "cpu")
        used = sorted({worker["device"] for worker in engine.workers})
        report.device = {"requested": options.device, "used": ", ".join(used), "workers": engine.workers}
        report.precision, *others = sorted({worker["precision"] for worker in engine.workers})
        if others:
            engine.close()
            raise UserError(f"some workers compute in {report.precision}, some in {', '.join(others)}; "
                            "name one with --precision, so that no answer depends on who gave it")  # fmt: skip
        logger.info("%d workers on a Ray cluster, %s", len(engine.workers), report.device["used"])
        return engine
    pipeline = _pipeline(facts, data_root, options)
    runtime = pipeline.router.runtime
    report.device = {"requested": options.device, "used": runtime.device,
                     "engine": runtime.engine, "providers": list(runtime.providers)}  # fmt: skip
    report.precision = runtime.precision
    return pipeline


def _pipeline(facts: Facts, data_root: Path, options: Options) -> Pipeline:
    runtime = open_runtime(options.weights, facts, options.device, options.precision)
    router = Router(facts.with_priors(options.profile.own_tasks), runtime)
    return Pipeline(router, data_root, options.batch_size, options.mask_resize, options.refine)


def _pipeline_of_node(data_root: Path, options: Options, weights_sha256: str) -> Pipeline:
    facts = read_facts(options.weights)
    if verify(facts, options.weights) != weights_sha256:
        raise WeightsError(f"{options.weights} on {platform.node()} holds other weights; copy the same to all nodes")
    return _pipeline(facts, data_root, options)
