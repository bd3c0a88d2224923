"""UUSIC 2025: a list with the truth and a folder of predictions -> one case per row. A task is a data set and kind."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from challenge.errors import ManifestError, MaskError, PathError
from challenge.manifest import Sample
from challenge.paths import UUSIC_JSON_FILE
from challenge.predictions import ClassPrediction
from challenge.readers import SubmissionError, mask_path
from challenge.targets import label
from challenge.tasks import CATALOGUE, TaskKind, TaskSpec
from challenge.uusic.manifest import read_list
from challenge.uusic.readers import read_answers
from evaluate.scores.cases import Case, ForegroundCase, LabelCase, Outcome
from evaluate.scores.mask_cases import mask_oddities, stored_mask
from evaluate.scores.one_case import measure_foreground, measure_one
from evaluate.scores.scoring import Measured
from evaluate.scores.true_masks import find_true_mask


def measure_list(list_file: Path, data_root: Path, predictions: Path) -> Measured:
    """Compare every row's prediction with its truth: `label`, or the mask at `mask_path_relative` below `data_root`.

    Raises ManifestError or SubmissionError, with file and entry, if the list or the predictions cannot be scored.
    """
    manifest = read_list(list_file, CATALOGUE)
    samples = [replace(sample, task_id=f"{sample.cells['dataset_name']}/{sample.kind}") for sample in manifest.samples]
    answers = read_answers(predictions)
    labels = {s.row: _label_case(s, answers or {}) for s in samples if s.kind is TaskKind.CLASSIFICATION}
    cases = tuple(labels.get(sample.row) or _mask_case(sample, data_root, predictions) for sample in samples)
    asked = {sample.image_path for sample in samples if sample.kind is TaskKind.CLASSIFICATION}
    unknown = [image_path for image_path in answers or {} if image_path not in asked]
    remarks = []
    if unknown:
        remarks.append(
            f"{UUSIC_JSON_FILE}: {len(unknown)} answers to images that the list does not classify; they "
            f"are not counted (the first: {unknown[0]!r})"
        )
    specs = {s.task_id: TaskSpec(s.task_id, s.kind, 2 if s.mask_file else s.num_classes) for s in samples}
    return Measured(tuple(specs.values()), cases, tuple(remarks))


def _mask_case(sample: Sample, data_root: Path, predictions: Path) -> Case:
    text = sample.cells.get("true_mask")
    if text is None:
        return ForegroundCase.of(sample, Outcome.NO_TRUTH, "the list has no mask_path_relative")
    try:
        truth = find_true_mask(data_root, text, num_classes=2).labels
    except PathError as error:
        raise ManifestError(f"{sample.row}: mask_path_relative: {error}; correct it") from error
    except MaskError as error:
        return ForegroundCase.of(sample, Outcome.NO_TRUTH, f"the true mask cannot be used ({error})")
    stored = stored_mask(mask_path(predictions, sample), truth.shape)
    if isinstance(stored, str):
        return ForegroundCase.of(sample, Outcome.MISSING, stored)
    case = measure_foreground(sample, stored.labels, truth)
    return replace(case, remark="; ".join(mask_oddities(stored, truth)))


def _label_case(sample: Sample, answers: Mapping[str, ClassPrediction]) -> Case:
    true, answer = label(sample), answers.get(sample.image_path)
    if true is None:
        return LabelCase.of(sample, Outcome.NO_TRUTH, "the list has no label")
    if answer is None:
        return LabelCase.of(sample, Outcome.MISSING, f"no entry in {UUSIC_JSON_FILE}", true=true)
    if len(answer.probabilities) != sample.num_classes:
        raise SubmissionError(
            f"{UUSIC_JSON_FILE}, {sample.image_path!r}: 'probability' must hold "
            f"{sample.num_classes} numbers, one per class ({sample.row})"
        )
    return measure_one(sample, answer)
