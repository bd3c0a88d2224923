"""Every row of the submission with its score, as the report lists it and saves it as csv."""

from collections.abc import Iterator, Mapping
from typing import Any

from challenge.class_names import ClassNames
from challenge.tasks import TaskKind
from evaluate.pages.case_text import described, goodness
from evaluate.scores.cases import Outcome
from evaluate.scores.metric_table import headline
from evaluate.scores.result import Result

TRUE_PROBABILITY = "p(true class)"
"""What a class answer is listed by; the AUC of one row does not exist."""


def case_table(result: Result, names: ClassNames) -> Iterator[Mapping[str, Any]]:
    """Yield an object per row, for the page's JSON.

    `good` is larger for better answers of a kind and null without a score. `value` is the number of `metric`.
    """
    for case in result.cases:
        spec = result.tasks[case.task_id].spec
        row = {
            "kind": spec.kind,
            "task": spec.task_id,
            "image": case.image_path,
            "row": case.row,
            "group": case.group,
            "metric": TRUE_PROBABILITY if spec.kind is TaskKind.CLASSIFICATION else headline(spec.kind).short,
        }
        if case.outcome is not Outcome.ANSWERED:
            yield row | {"score": str(case.outcome), "detail": case.remark, "good": None, "value": None}
            continue
        good = goodness(case)
        score, detail = described(case, names.of(spec))
        yield row | {"score": score, "detail": detail, "good": good, "value": abs(good)}
