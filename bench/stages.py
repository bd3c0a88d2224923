"""Measures the processor time of each stage of our pipeline, one stage at a time over the same rows."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np

from challenge.imaging.decode import DecodedImage, read_image
from challenge.imaging.geometry import Resize
from challenge.manifest import Sample
from challenge.paths import find_image
from model.frozen.engine import open_engine
from model.frozen.loading import Batch, plan
from model.frozen.metadata import WeightsMetadata, read_metadata, verify
from model.frozen.options import Options
from model.frozen.outputs.decode import answer
from model.frozen.pipeline import Answer, Pipeline
from model.frozen.router import Router
from model.frozen.run.journal import Identity, open_journal
from model.frozen.run.recorder import Recorder
from model.frozen.run.report import RunReport
from model.frozen.runtimes.base import Array, Runtime
from model.networks.system import ENCODER, is_head_stage

STAGES = ("decode", "resize", "encoder", "decoder", "heads", "post-processing", "writing")
"""`post-processing`: stacking images, passing maps from graph to graph, and turning raw outputs into native masks,
boxes, points and classes. `writing`: PNG, journal, JSON files."""


class Clock:
    """Processor seconds of all threads of this process, by stage."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)

    @contextmanager
    def time(self, stage: str) -> Iterator[None]:
        """Add the processor time used inside the block to a stage."""
        start = time.process_time()
        yield
        self.seconds[stage] += time.process_time() - start


class TimedRuntime(Runtime):
    """Wraps a runtime and adds its graphs' time to a clock; the graph's name decides the stage."""

    name = "timed"

    def __init__(self, runtime: Runtime, clock: Clock) -> None:
        self._runtime, self._clock = runtime, clock
        self.device, self.providers, self.precision = runtime.device, runtime.providers, runtime.precision
        self.lanes = 1

    def run(self, graph: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """See `Runtime.run`."""
        own = graph.rpartition("/")[2]  # of an ensemble: member-1/encoder
        stage = "encoder" if own == ENCODER else "heads" if is_head_stage(own) else "decoder"
        with self._clock.time(stage):
            return self._runtime.run(graph, inputs)


def measure(data_root: Path, samples: Sequence[Sample], options: Options, output: Path) -> dict[str, float]:
    """Answer all samples into `output`; return processor seconds by stage. Every task needs a trained head.

    Raises UserError if the weights cannot be used or do not offer what `options` ask for.
    """
    metadata, report, clock = read_metadata(options.weights), RunReport(), Clock()
    engine, _ = open_engine(metadata, data_root, options, verify(metadata, options.weights))
    if not isinstance(engine, Pipeline):
        raise TypeError(f"{type(engine).__name__} does not work in this process")
    batches = plan(samples, options.batch_size)
    _warm_up(engine.router, batches)
    router = replace(engine.router, runtime=TimedRuntime(engine.router.runtime, clock))
    output.mkdir(parents=True)
    with open_journal(output, _identity(samples, options), resume=False) as journal:
        recorder = Recorder(data_root, output, options.profile, journal, samples, report)
        for batch in batches:
            for answer in _answers(batch, data_root, router, options, clock):
                with clock.time("writing"):
                    recorder.add(answer)
        with clock.time("writing"):
            recorder.write_json()
    engine.close()
    return clock.seconds


def _answers(batch: Batch, data_root: Path, router: Router, options: Options, clock: Clock) -> Iterator[Answer]:
    metadata = router.metadata
    level = options.postprocess or metadata.default_postprocess
    with clock.time("decode"):
        decoded = [read_image(find_image(data_root, job.image_path)) for job in batch]
    with clock.time("resize"):
        resizes = [Resize.of(*image.size, metadata.image_size, metadata.fit) for image in decoded]
        images = [_resized(resize, image, metadata) for resize, image in zip(resizes, decoded, strict=True)]
    network = sum(clock.seconds.values())
    start = time.process_time()
    tasks = [{sample.task_id: sample for sample in job.samples} for job in batch]
    outputs = list(router.run(np.stack(images), [list(names) for names in tasks]))
    clock.seconds["post-processing"] += time.process_time() - start - (sum(clock.seconds.values()) - network)
    for task_id, numbers, raw in outputs:
        task = metadata.tasks[task_id]
        for number, output in zip(numbers, raw, strict=True):
            with clock.time("post-processing"):
                prediction, reason = answer(
                    output,
                    task.spec,
                    resizes[number],
                    postprocessing=task.postprocessing.up_to(level),
                    mean=task.fallback,
                    mask_resize=options.mask_resize,
                    tidy_coordinates=metadata.tidy_coordinates,
                )
            yield Answer(tasks[number][task_id], prediction, reason)


def _resized(resize: Resize, image: DecodedImage, metadata: WeightsMetadata) -> Array:
    return resize.image(image.pixels, metadata.resampling)


def _warm_up(router: Router, batches: Sequence[Batch]) -> None:
    """Run every task once on black images, because the first use loads graphs and plans memory."""
    asked = sorted({sample.task_id for batch in batches for job in batch for sample in job.samples})
    size = router.metadata.image_size
    black = np.zeros((max(map(len, batches)), size, size, 3), np.uint8)
    for _ in router.run(black, [asked] * len(black)):
        pass


def _identity(samples: Sequence[Sample], options: Options) -> Identity:
    rows = len(samples)
    return Identity(
        profile=options.profile.name,
        weights="",
        manifest="",
        rows=rows,
        batch_size=options.batch_size,
        precision=options.precision,
        mask_resize=options.mask_resize,
        postprocess=options.postprocess or "auto",
        tasks="",
        num_parts=1,
        part_id=0,
        part_rows=rows,
    )
