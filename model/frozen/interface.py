"""`Model`, the Python interface that both challenges define (docs/reference/contract.md, 1.1 and 2)."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from challenge.host.places import DEFAULT_WEIGHTS
from challenge.paths import UUSIC_JSON_FILE
from challenge.profile import uusic
from model.frozen.options import Options
from model.frozen.run.report import RunReport
from model.frozen.run.submission import run_submission


class Model:
    """A folder of weights with the methods that the organisers' scripts call."""

    def __init__(self, weights: str | os.PathLike[str] = DEFAULT_WEIGHTS) -> None:
        self.weights = Path(weights)

    def predict(self, data_root: str, output_dir: str, batch_size: int = 8) -> None:
        """Answer every row of `data_root/csv_files/*.csv` into `output_dir`. Raises UserError for unusable input."""
        run_submission(Path(data_root), Path(output_dir), Options(self.weights, batch_size), RunReport())

    def predict_segmentation_and_classification(
        self, data_list: list[Mapping[str, str]], input_dir: str, output_dir: str
    ) -> dict[str, Any]:
        """Answer UUSIC's list into `output_dir`; return what `classification.json` there holds. Raises UserError."""
        options = Options(self.weights, profile=uusic(data_list))
        run_submission(Path(input_dir), Path(output_dir), options, RunReport())
        return dict(json.loads((Path(output_dir) / UUSIC_JSON_FILE).read_text("utf-8")))
