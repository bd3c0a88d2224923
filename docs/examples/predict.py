"""Answers some tasks for one image and saves its mask: `python docs/examples/predict.py IMAGE OUT.png`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from PIL import Image

from inference import Predictor

if len(sys.argv) != 3:
    sys.exit("usage: python docs/examples/predict.py IMAGE OUT.png")
source, target = sys.argv[1:]
with Predictor() as predictor:
    answers = predictor.predict(source, tasks=("breast_lesion", "breast_2cls", "breast_lesion_det"))
    names = predictor.class_names.get("breast_2cls", ("class 0", "class 1"))

mask, malignancy, box = answers["breast_lesion"], answers["breast_2cls"], answers["breast_lesion_det"]
Image.fromarray(mask.labels * 255).save(target)
print(f"{names[malignancy.predicted_class]}, probability {max(malignancy.probabilities):.2f}")
print(f"box in pixels: {', '.join(f'{value:.0f}' for value in box.pixels)}; mask: {target}")
