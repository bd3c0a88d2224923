"""`weights.json`: what the frozen graphs are and how to use them. Read, checked and hashed; never a pickle."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from challenge.errors import WeightsError
from challenge.imaging.geometry import Fit
from challenge.imaging.resampling import Resampling
from challenge.tasks import TaskKind, TaskSpec
from model.frozen.refine import Refinement

SCHEMA = 1
FILE = "weights.json"
_LFS_POINTER = b"version https://git-lfs"


@dataclass(frozen=True)
class Graph:
    """One ONNX file and the names that connect it: inputs are outputs of earlier graphs, or `images`, or `task`."""

    file: str
    sha256: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class TaskFacts:
    """One task of the weights.

    `path` names the graphs that answer it, in order; `index` is what a graph input called `task` receives. `answers`
    is `network` or, for a head without training data, `prior`. `fallback` is the training set's mean box (4 numbers)
    or points (2M numbers) in 0..1 of the image.
    """

    spec: TaskSpec
    path: tuple[str, ...]
    answers: str
    trained_on: str | None = None
    index: int | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    fallback: tuple[float, ...] | None = None
    refinement: Refinement = field(default_factory=Refinement)

    def __str__(self) -> str:
        """A line of `--list-tasks`: task, kind, classes, who answers, training data."""
        spec = self.spec
        return f"{spec.task_id:24} {spec.kind:15} {spec.num_classes:2}  {self.answers:8} {self.trained_on or '-'}"


@dataclass(frozen=True)
class Facts:
    """All of `weights.json`, typed. `extra` holds what only people read (recipe, data, licences)."""

    name: str
    system: str
    opset: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resampling: Resampling
    fit: Fit
    postprocess: str
    graphs: Mapping[str, Graph]
    tasks: Mapping[str, TaskFacts]
    precisions: tuple[str, ...] = ("float32",)
    """What the graphs may be computed in without harm to the scores, by measurement."""
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def specs(self) -> Mapping[str, TaskSpec]:
        """The tasks' specs by `task_id`."""
        return {task_id: task.spec for task_id, task in self.tasks.items()}

    def with_priors(self, specs: Iterable[TaskSpec]) -> "Facts":
        """Return facts in which the prior answers those of `specs` that the weights lack."""
        lacking = {spec.task_id: TaskFacts(spec, (), "prior") for spec in specs if spec.task_id not in self.tasks}
        return replace(self, tasks={**self.tasks, **lacking})

    @property
    def prior_tasks(self) -> list[str]:
        """Tasks whose heads had no training data."""
        return [task_id for task_id, task in self.tasks.items() if task.answers == "prior"]


def read_facts(folder: Path) -> Facts:
    """Read and check `folder/weights.json`. Raises WeightsError; the graphs are checked by `verify`."""
    path = folder / FILE
    try:
        data = path.read_bytes()
        _refuse_pointer(data, path)
        table = json.loads(data)
    except FileNotFoundError as error:
        raise WeightsError(f"there is no {path}; give the folder of exported weights with --weights") from error
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path} cannot be read ({error}); export the weights again") from error
    schema = table.get("schema") if isinstance(table, dict) else None
    if not isinstance(schema, int) or schema > SCHEMA:
        raise WeightsError(f"{path} has schema {schema!r}, this program reads up to {SCHEMA}; update the program")
    try:
        facts = _facts(table)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} is incomplete or malformed ({error!r}); export the weights again") from error
    _check_paths(facts, path)
    return facts


def verify(facts: Facts, folder: Path) -> str:
    """Check every graph file's presence and sha256. Return the sha256 of `weights.json`. Raises WeightsError."""
    for name, graph in facts.graphs.items():
        path = folder / graph.file
        if not path.resolve().is_relative_to(folder.resolve()):
            raise WeightsError(f"the graph {name!r} lies outside the weights folder: {graph.file}")
        try:
            data = path.read_bytes()
        except OSError as error:
            raise WeightsError(f"the graph {name!r} is missing: {path}; copy the whole weights folder") from error
        _refuse_pointer(data, path)
        if hashlib.sha256(data).hexdigest() != graph.sha256:
            raise WeightsError(f"{path} does not match the sha256 in {FILE}; copy or export the weights again")
    return hashlib.sha256((folder / FILE).read_bytes()).hexdigest()


def _refuse_pointer(data: bytes, path: Path) -> None:
    if data.startswith(_LFS_POINTER):
        raise WeightsError(f"{path} is a Git LFS pointer, not the weights; run 'git lfs pull'")


def task_lines(folder: Path) -> list[str]:
    """Check the weights; return a line per task. Raises WeightsError."""
    facts = read_facts(folder)
    verify(facts, folder)
    return list(map(str, facts.tasks.values()))


def write_facts(facts: Facts, folder: Path) -> None:
    """Write `folder/weights.json` so that `read_facts` gives `facts` back."""
    table = {
        "schema": SCHEMA,
        "name": facts.name,
        "system": facts.system,
        "opset": facts.opset,
        "image_size": facts.image_size,
        "mean": list(facts.mean),
        "std": list(facts.std),
        "resize": {"method": facts.resampling, "fit": facts.fit},
        "postprocess": facts.postprocess,
        "precisions": list(facts.precisions),
        "graphs": {
            name: {"file": g.file, "sha256": g.sha256, "inputs": list(g.inputs), "outputs": list(g.outputs)}
            for name, g in facts.graphs.items()
        },
        "tasks": {
            task_id: {
                "kind": task.spec.kind,
                "num_classes": task.spec.num_classes,
                "path": list(task.path),
                "index": task.index,
                "answers": task.answers,
                "trained_on": task.trained_on,
                "scores": dict(task.scores),
                "fallback": None if task.fallback is None else list(task.fallback),
                "refine": asdict(task.refinement),
            }
            for task_id, task in facts.tasks.items()
        },
        **facts.extra,
    }
    (folder / FILE).write_text(json.dumps(table, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")


_KNOWN = {"schema", "name", "system", "opset", "image_size", "mean", "std", "resize", "postprocess", "precisions",
          "graphs", "tasks"}  # fmt: skip
_PRECISIONS = {"float32", "bfloat16", "float16"}


def _facts(table: Mapping[str, Any]) -> Facts:
    if table["postprocess"] not in ("official", "own"):
        raise ValueError(f"postprocess {table['postprocess']!r}")
    precisions = tuple(table.get("precisions", ["float32"]))
    if not _PRECISIONS.issuperset(precisions):
        raise ValueError(f"precisions {precisions!r}")
    return Facts(
        name=table["name"],
        system=table["system"],
        opset=table["opset"],
        image_size=_count(table["image_size"]),
        mean=_three(table["mean"]),
        std=_three(table["std"], above=0),
        resampling=Resampling(table["resize"]["method"]),
        fit=Fit(table["resize"]["fit"]),
        postprocess=table["postprocess"],
        graphs={
            name: Graph(graph["file"], graph["sha256"], tuple(graph["inputs"]), tuple(graph["outputs"]))
            for name, graph in table["graphs"].items()
        },
        tasks={task_id: _task(task_id, task) for task_id, task in table["tasks"].items()},
        precisions=precisions,
        extra={key: value for key, value in table.items() if key not in _KNOWN},
    )


def _task(task_id: str, table: Mapping[str, Any]) -> TaskFacts:
    if table["answers"] not in ("network", "prior"):
        raise ValueError(f"task {task_id}: answers {table['answers']!r}")
    spec = TaskSpec(task_id, TaskKind(table["kind"]), _count(table["num_classes"]))
    refinement = table.get("refine") or {}
    order = tuple(map(int, refinement.get("point_order", ())))
    return TaskFacts(
        spec=spec,
        path=tuple(table["path"]),
        answers=table["answers"],
        trained_on=table.get("trained_on"),
        index=table.get("index"),
        scores=table.get("scores") or {},
        fallback=_fallback(spec, table.get("fallback")),
        refinement=Refinement(**{**refinement, "point_order": order}),
    )


def _count(value: Any) -> int:
    if int(value) < 1:
        raise ValueError(f"{value!r} is no count")
    return int(value)


def _three(values: Sequence[float], above: float = -math.inf) -> tuple[float, ...]:
    """A value per colour. One alone, or nan, would be computed with: a wrong answer that looks right."""
    if len(values) != 3 or not all(above < value < math.inf for value in values):
        raise ValueError(f"{values!r} are no three numbers")
    return tuple(values)


def _fallback(spec: TaskSpec, values: Sequence[float] | None) -> tuple[float, ...] | None:
    if values is None:
        return None
    numbers = tuple(map(float, values))
    expected = {TaskKind.DETECTION: 4, TaskKind.REGRESSION: 2 * spec.num_classes}.get(spec.kind, len(numbers))
    if len(numbers) != expected or not all(map(math.isfinite, numbers)):
        raise ValueError(f"task {spec.task_id}: fallback {values!r}")
    return numbers


def _check_paths(facts: Facts, path: Path) -> None:
    for task_id, task in facts.tasks.items():
        have = {"images", "task"}
        for name in task.path:
            graph = facts.graphs.get(name)
            if graph is None or not have.issuperset(graph.inputs):
                raise WeightsError(f"{path}: the path of {task_id!r} breaks at {name!r}; export the weights again")
            have.update(graph.outputs)
        if task.answers == "network" and "output" not in have:
            raise WeightsError(f"{path}: the path of {task_id!r} gives no output; export the weights again")
