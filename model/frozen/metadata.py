"""The weights' metadata, `weights.json`: which graphs there are and how to use them. Plain JSON, never a pickle."""

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from challenge.class_names import checked_names
from challenge.errors import WeightsError
from challenge.host.lfs import is_lfs_pointer
from challenge.imaging.geometry import Fit
from challenge.imaging.resampling import Resampling
from challenge.tasks import TaskKind, TaskSpec
from model.frozen.outputs.joining import HOW
from model.frozen.outputs.postprocess import Postprocess, Postprocessing
from model.frozen.outputs.views import VIEWS

SCHEMA = 4
FILE = "weights.json"


@dataclass(frozen=True)
class Graph:
    """One ONNX file and its tensors' names. Inputs are outputs of earlier graphs, `images`, or `task`."""

    file: str
    sha256: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class TaskMetadata:
    """One task of the weights.

    `path` names the graphs that answer it, in order. `index` is the value for a graph input called `task`. `answers` is
    `network`, or `prior` for a head without training data. `class_names` are those of classes 0, 1, ...
    (or points 1, 2, ...) in the training data, empty if unknown. `fallback` is the training set's mean box (4 numbers)
    or points (2M numbers), in 0..1 of the image.
    """

    spec: TaskSpec
    path: tuple[str, ...]
    answers: str
    trained_on: str | None = None
    index: int | None = None
    class_names: tuple[str, ...] = ()
    scores: Mapping[str, float] = field(default_factory=dict)
    fallback: tuple[float, ...] | None = None
    postprocessing: Postprocessing = field(default_factory=Postprocessing)

    def __str__(self) -> str:
        """Return a line of `--list-tasks`: task, kind, number of classes, `network` or `prior`, training data."""
        spec = self.spec
        return f"{spec.task_id:24} {spec.kind:15} {spec.num_classes:2}  {self.answers:8} {self.trained_on or '-'}"


@dataclass(frozen=True)
class Member:
    """A network of an ensemble: a weights folder below the ensemble's, and the sha256 of its `weights.json`.

    Its metadata name graphs and files as the ensemble does, with the folder in front.
    """

    folder: str
    sha256: str
    metadata: "WeightsMetadata"


@dataclass(frozen=True)
class WeightsMetadata:
    """The content of `weights.json`. `extra` holds what no program reads back (recipe, data, licences).

    Weights of several networks have `members`; `graphs` are then those of all members, and no task has a path.
    """

    name: str
    system: str
    opset: int
    image_size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resampling: Resampling
    fit: Fit
    tidy_coordinates: bool
    """Whether box corners are sorted, and boxes and points clipped to the image; not so for official weights."""
    graphs: Mapping[str, Graph]
    tasks: Mapping[str, TaskMetadata]
    precisions: tuple[str, ...] = ("float32",)
    """Numeric precisions in which these weights were tested without loss of score."""
    default_postprocess: Postprocess = Postprocess.NONE
    """How much post-processing these weights recommend."""
    members: tuple[Member, ...] = ()
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def specs(self) -> Mapping[str, TaskSpec]:
        """The tasks' specs by `task_id`."""
        return {task_id: task.spec for task_id, task in self.tasks.items()}

    def difference(self, other: "WeightsMetadata") -> str | None:
        """Return in words what `other` has of its own that keeps both from answering together; None if nothing."""
        pairs = {
            "another image size": (self.image_size, other.image_size),
            "another normalisation": ((self.mean, self.std), (other.mean, other.std)),
            "another way to resize images": ((self.resampling, self.fit), (other.resampling, other.fit)),
            "another rule for coordinates": (self.tidy_coordinates, other.tidy_coordinates),
            "other tasks": (self.specs, other.specs),
        }
        return next((what for what, (mine, theirs) in pairs.items() if mine != theirs), None)

    def with_priors(self, specs: Iterable[TaskSpec]) -> "WeightsMetadata":
        """Return metadata in which the prior answers those of `specs` that the weights lack."""
        lacking = {spec.task_id: TaskMetadata(spec, (), "prior") for spec in specs if spec.task_id not in self.tasks}
        return replace(self, tasks={**self.tasks, **lacking})

    @property
    def class_names(self) -> Mapping[str, tuple[str, ...]]:
        """What the classes are called, of the tasks whose names are known."""
        return {task_id: task.class_names for task_id, task in self.tasks.items() if task.class_names}

    @property
    def prior_tasks(self) -> list[str]:
        """Tasks whose heads had no training data."""
        return [task_id for task_id, task in self.tasks.items() if task.answers == "prior"]


def read_metadata(folder: Path) -> WeightsMetadata:
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
        table = _migrated(table, schema)
        metadata = _metadata(table)
        members = tuple((entry["folder"], entry["sha256"]) for entry in table.get("members", ()))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path} is incomplete or malformed ({error!r}); export the weights again") from error
    if members:
        return ensemble_of(metadata, [_read_member(folder, *member) for member in members], path)
    _check_paths(metadata, path)
    return metadata


def ensemble_of(shared: WeightsMetadata, members: Sequence[Member], path: Path) -> WeightsMetadata:
    """Return the metadata of an ensemble. Raises WeightsError, naming `path`, if a member does not fit the others."""
    for member in members:
        if what := shared.difference(member.metadata):
            raise WeightsError(f"{path}: {member.folder} has {what} than the others; export members that agree")
    for task_id, task in shared.tasks.items():
        if task.answers not in {member.metadata.tasks[task_id].answers for member in members}:
            raise WeightsError(f"{path}: no member answers {task_id!r} with the {task.answers}; export them again")
    return replace(shared, members=tuple(members), graphs={
        name: graph for member in members for name, graph in member.metadata.graphs.items()
    })  # fmt: skip


def in_folder(metadata: WeightsMetadata, folder: str) -> WeightsMetadata:
    """Return the metadata of a member, whose graphs and files have its folder in front of their names."""
    graphs = {f"{folder}/{name}": replace(g, file=f"{folder}/{g.file}") for name, g in metadata.graphs.items()}
    tasks = {
        task_id: replace(task, path=tuple(f"{folder}/{name}" for name in task.path))
        for task_id, task in metadata.tasks.items()
    }
    return replace(metadata, graphs=graphs, tasks=tasks)


def _read_member(ensemble: Path, folder: str, sha256: str) -> Member:
    _check_file(f"the member {folder!r}", f"{folder}/{FILE}", sha256, ensemble)
    metadata = read_metadata(ensemble / folder)
    if metadata.members:
        raise WeightsError(f"the member {folder!r} of {ensemble} is an ensemble itself; export its networks one by one")
    return Member(folder, sha256, in_folder(metadata, folder))


def verify(metadata: WeightsMetadata, folder: Path) -> str:
    """Check every graph file's presence and sha256. Return the sha256 of `weights.json`. Raises WeightsError."""
    for name, graph in metadata.graphs.items():
        _check_file(f"the graph {name!r}", graph.file, graph.sha256, folder)
    return hashlib.sha256((folder / FILE).read_bytes()).hexdigest()


def _check_file(what: str, file: str, sha256: str, folder: Path) -> None:
    path = folder / file
    if not path.resolve().is_relative_to(folder.resolve()):
        raise WeightsError(f"{what} lies outside the weights folder: {file}; export the weights again")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"{what} is missing: {path}; copy the whole weights folder") from error
    _refuse_pointer(data, path)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise WeightsError(f"{path} does not match the sha256 in {FILE}; copy or export the weights again")


def _refuse_pointer(data: bytes, path: Path) -> None:
    if is_lfs_pointer(data):
        raise WeightsError(f"{path} is a Git LFS pointer, not the weights; run 'git lfs pull'")


def task_lines(folder: Path) -> list[str]:
    """Check the weights; return a line per task. Raises WeightsError."""
    metadata = read_metadata(folder)
    verify(metadata, folder)
    return list(map(str, metadata.tasks.values()))


def write_metadata(metadata: WeightsMetadata, folder: Path) -> None:
    """Write `folder/weights.json` so that `read_metadata` gives `metadata` back."""
    table = {
        "schema": SCHEMA,
        "name": metadata.name,
        "system": metadata.system,
        "opset": metadata.opset,
        "image_size": metadata.image_size,
        "mean": list(metadata.mean),
        "std": list(metadata.std),
        "resize": {"method": metadata.resampling, "fit": metadata.fit},
        "tidy_coordinates": metadata.tidy_coordinates,
        "precisions": list(metadata.precisions),
        "default_postprocess": metadata.default_postprocess,
        **_networks(metadata),
        "tasks": {
            task_id: {
                "kind": task.spec.kind,
                "num_classes": task.spec.num_classes,
                "path": list(task.path),
                "index": task.index,
                **({"class_names": list(task.class_names)} if task.class_names else {}),
                "answers": task.answers,
                "trained_on": task.trained_on,
                "scores": dict(task.scores),
                "fallback": None if task.fallback is None else list(task.fallback),
                "postprocessing": asdict(task.postprocessing),
            }
            for task_id, task in metadata.tasks.items()
        },
        **metadata.extra,
    }
    (folder / FILE).write_text(json.dumps(table, indent=1, ensure_ascii=False, allow_nan=False) + "\n", "utf-8")


def _networks(metadata: WeightsMetadata) -> dict[str, Any]:
    """Return the graphs of one network, or the members of several, which keep their graphs in files of their own."""
    if metadata.members:
        members = [{"folder": member.folder, "sha256": member.sha256} for member in metadata.members]
        return {"members": members, "join": dict(HOW), "graphs": {}}
    return {
        "graphs": {
            name: {"file": g.file, "sha256": g.sha256, "inputs": list(g.inputs), "outputs": list(g.outputs)}
            for name, g in metadata.graphs.items()
        }
    }


_KNOWN = {
    "schema",
    "name",
    "system",
    "opset",
    "image_size",
    "mean",
    "std",
    "resize",
    "tidy_coordinates",
    "precisions",
    "default_postprocess",
    "members",
    "join",
    "graphs",
    "tasks",
}
_PRECISIONS = {"float32", "bfloat16", "float16"}


def _migrated(table: Mapping[str, Any], schema: int) -> Mapping[str, Any]:
    """Return a table of an earlier schema with the names of this one."""
    if schema > 1:
        return table
    new = dict(table)
    if (style := new.pop("postprocess")) not in ("official", "own"):
        raise ValueError(f"postprocess {style!r}")
    new["tidy_coordinates"] = style == "own"
    new["tasks"] = {task_id: _migrated_task(task) for task_id, task in table["tasks"].items()}
    return new


def _migrated_task(task: Mapping[str, Any]) -> Mapping[str, Any]:
    names = {"one_piece": "largest_component", "mirror": "flip"}
    old = task.get("refine") or {}
    return {**task, "postprocessing": {names.get(name, name): value for name, value in old.items()}}


def _metadata(table: Mapping[str, Any]) -> WeightsMetadata:
    if not isinstance(table["tidy_coordinates"], bool):
        raise TypeError(f"tidy_coordinates {table['tidy_coordinates']!r}")
    if table.get("join", HOW) != HOW:
        raise ValueError(f"join {table['join']!r}")
    precisions = tuple(table.get("precisions", ["float32"]))
    if not _PRECISIONS.issuperset(precisions):
        raise ValueError(f"precisions {precisions!r}")
    return WeightsMetadata(
        name=table["name"],
        system=table["system"],
        opset=table["opset"],
        image_size=_count(table["image_size"]),
        mean=_three(table["mean"]),
        std=_three(table["std"], above=0),
        resampling=Resampling(table["resize"]["method"]),
        fit=Fit(table["resize"]["fit"]),
        tidy_coordinates=table["tidy_coordinates"],
        graphs={
            name: Graph(graph["file"], graph["sha256"], tuple(graph["inputs"]), tuple(graph["outputs"]))
            for name, graph in table["graphs"].items()
        },
        tasks={task_id: _task(task_id, task) for task_id, task in table["tasks"].items()},
        precisions=precisions,
        default_postprocess=Postprocess(table.get("default_postprocess", Postprocess.NONE)),
        extra={key: value for key, value in table.items() if key not in _KNOWN},
    )


def _task(task_id: str, table: Mapping[str, Any]) -> TaskMetadata:
    if table["answers"] not in ("network", "prior"):
        raise ValueError(f"task {task_id}: answers {table['answers']!r}")
    spec = TaskSpec(task_id, TaskKind(table["kind"]), _count(table["num_classes"]))
    postprocessing = Postprocessing.from_table(table.get("postprocessing") or {})
    if unfit := [name for name in postprocessing.views if not VIEWS[name].suits(spec.kind)]:
        raise ValueError(f"task {task_id}: the view {unfit[0]!r} is not for {spec.kind}")
    return TaskMetadata(
        spec=spec,
        path=tuple(table["path"]),
        answers=table["answers"],
        trained_on=table.get("trained_on"),
        index=table.get("index"),
        class_names=_class_names(spec, table.get("class_names")),
        scores=table.get("scores") or {},
        fallback=_fallback(spec, table.get("fallback")),
        postprocessing=postprocessing,
    )


def _class_names(spec: TaskSpec, values: Sequence[str] | None) -> tuple[str, ...]:
    names = checked_names(values) if values else ()
    if names and len(names) != spec.num_classes:
        raise ValueError(f"task {spec.task_id}: {len(names)} class names for {spec.num_classes} classes")
    return names


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


def _check_paths(metadata: WeightsMetadata, path: Path) -> None:
    for task_id, task in metadata.tasks.items():
        have = {"images", "task"}
        for name in task.path:
            graph = metadata.graphs.get(name)
            if graph is None or not have.issuperset(graph.inputs):
                raise WeightsError(f"{path}: the path of {task_id!r} breaks at {name!r}; export the weights again")
            have.update(graph.outputs)
        if task.answers == "network" and "output" not in have:
            raise WeightsError(f"{path}: the path of {task_id!r} gives no output; export the weights again")
