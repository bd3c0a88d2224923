"""The engine on a Ray cluster: each actor has a pipeline, gets whole batches and sends the answers back.

Every node must see the program, the weights and the images under the same paths. Ray is optional
(`requirements-ray.txt`) and only imported for `--ray`.
"""

import logging
import os
import platform
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from types import ModuleType
from typing import Any

from challenge.errors import UserError
from challenge.host.limits import available_cpus
from challenge.manifest import Sample
from model.frozen.loading import Batch, cut, isolated
from model.frozen.pipeline import Answer, Pipeline

_BATCHES_PER_CALL = 4
_CALLS_PER_ACTOR = 2  # one runs, one waits
_POLL_S, _GRACE_S = 1.0, 5.0


class _Worker:
    """The code of an actor. A restarted actor builds its pipeline again at the first call."""

    def __init__(self, build: Callable[[], Pipeline]) -> None:
        self._build = build

    @cached_property
    def _pipeline(self) -> Pipeline:
        return self._build()

    def describe(self) -> dict[str, Any]:
        runtime = self._pipeline.router.runtime
        return {
            "node": platform.node(),
            "pid": os.getpid(),
            "device": runtime.device,
            "runtime": runtime.name,
            "providers": list(runtime.providers),
            "precision": runtime.precision,
        }

    def answer(self, batches: Sequence[Batch]) -> list[Answer]:
        import ray

        answers: list[Answer] = []
        if ray.get_runtime_context().was_current_actor_reconstructed:  # An image may have crashed it.
            batches = isolated(batches, {job.image_path for batch in batches for job in batch})
        for _ in self._pipeline.run(batches, answers.append):
            pass
        return answers


class RayEngine:
    """Answers batches on the cluster at `address`, with one actor per GPU, or per node if there are no GPUs.

    Ray restarts an actor that dies and repeats the call; the restarted actor reads images in child processes. `workers`
    lists node, process and device of each. Raises UserError if Ray is not installed or no cluster answers, and whatever
    `build` raises on the nodes.
    """

    def __init__(self, address: str, build: Callable[[], Pipeline], *, gpu: bool) -> None:
        self._ray = _connect(address)
        try:
            self.workers: list[dict[str, Any]] = self._start(build, gpu)
        except BaseException:
            self.close()
            raise

    def _start(self, build: Callable[[], Pipeline], gpu: bool) -> list[dict[str, Any]]:
        gpus = int(self._ray.cluster_resources().get("GPU", 0)) if gpu else 0
        nodes = sum(bool(node["Alive"]) for node in self._ray.nodes())
        actor = self._ray.remote(
            num_cpus=1, num_gpus=min(gpus, 1), max_restarts=-1, max_task_retries=-1, scheduling_strategy="SPREAD"
        )(_Worker)
        self._actors = [actor.remote(build) for _ in range(gpus or nodes)]
        described: list[dict[str, Any]] = self._ray.get([worker.describe.remote() for worker in self._actors])
        return described

    def run(
        self,
        batches: Sequence[Batch],
        consume: Callable[[Answer], None],
        stop: Callable[[], bool] = lambda: False,
        announce: Callable[[Batch], None] = lambda _: None,
    ) -> Iterator[Sample]:
        """See `Pipeline.run`. After `stop` returns True, running calls have a few seconds to finish."""
        calls = _announced(cut(batches, _BATCHES_PER_CALL), announce)
        pairs = zip(self._actors * _CALLS_PER_ACTOR, calls, strict=False)
        running = {worker.answer.remote(call): worker for worker, call in pairs}
        end = None
        with ThreadPoolExecutor(available_cpus(), "finish") as finishers:
            while running and (end is None or time.monotonic() < end):
                ready, _ = self._ray.wait(list(running), timeout=_POLL_S)
                if end is None and stop():
                    end = time.monotonic() + _GRACE_S
                for reference in ready:
                    worker = running.pop(reference)
                    if end is None and (call := next(calls, None)):
                        running[worker.answer.remote(call)] = worker
                    answers = self._ray.get(reference)
                    for answer, _ in zip(answers, finishers.map(consume, answers), strict=True):
                        yield answer.sample

    def close(self) -> None:
        """Leave the cluster, which ends the actors."""
        self._ray.shutdown()


def _announced(calls: Iterable[tuple[Batch, ...]], announce: Callable[[Batch], None]) -> Iterator[tuple[Batch, ...]]:
    for call in calls:
        for batch in call:
            announce(batch)
        yield call


def _connect(address: str) -> ModuleType:
    try:
        import ray
    except ImportError as error:
        raise UserError("--ray: Ray is not installed; pip install --requirement requirements-ray.txt") from error
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.WARNING)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"--ray {address}: no cluster answers ({reason}); start one with 'ray start --head'") from error
    finally:
        for number, handler in handlers.items():  # Ray replaces the handler of SIGTERM
            signal.signal(number, handler)
    module: ModuleType = ray
    return module
