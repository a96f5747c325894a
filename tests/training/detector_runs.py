"""Runs of a tiny detector on pictures with one square each, in Visual Genome's layout."""

import json
from dataclasses import replace
from pathlib import Path

import cv2

from detectors.evaluation import EvaluationRules
from detectors.training import TrainingOptions
from detectors.vocabulary import Vocabulary
from tests.detectors.squares import CONVENTIONS, TINY, square
from training.detector.gold_images import image_files
from training.detector.recipe import PRESETS, DetectorRecipe, DetectorRun, PresetName, begin_detector_run
from training.detector.worker import DetectorTask

VOCABULARY = Vocabulary(classes=("lamp,light", "hole"), attributes=("dull", "bright,shiny"))
NUM_VAL = 4


def write_squares(folder: Path, *, num_images: int = 12) -> None:
    """Write images 0, 1 ... and their annotations; the first four are val's, and every third is tall."""
    (folder / "images").mkdir(parents=True)
    objects, attributes, sizes = [], [], []
    for number in range(num_images):
        width, height = (96, 128) if number % 3 == 2 else (128, 96)
        gold, decoded = square(number, width=width, height=height)
        cv2.imwrite(str(folder / "images" / f"{number}.png"), decoded.pixels_rgb)
        x1, y1, x2, y2 = gold.boxes_xyxy[0].tolist()
        box = {"object_id": number, "x": x1, "y": y1, "w": x2 - x1, "h": y2 - y1}
        bright = number % 2 == 0
        objects.append({"image_id": number, "objects": [{**box, "names": ["Light" if bright else "hole"]}]})
        words = {"attributes": ["shiny", "unheard of"]} if bright else {}
        attributes.append({"image_id": number, "attributes": [{"object_id": number, **words}]})
        sizes.append({"image_id": number, "width": width, "height": height})
    for name, records in (("objects", objects), ("attributes", attributes), ("image_data", sizes)):
        (folder / f"{name}.json").write_text(json.dumps(records))
    (folder / "objects_vocab.txt").write_text("\n".join(VOCABULARY.classes))
    (folder / "attributes_vocab.txt").write_text("\n".join(VOCABULARY.attributes))
    (folder / "val.txt").write_text("".join(f"{number}\n" for number in range(NUM_VAL)))
    (folder / "train.txt").write_text("".join(f"VG/{number}.jpg {number}.xml\n" for number in range(num_images)))


def tiny_recipe(preset: PresetName = "adamw", *, num_steps: int = 3) -> DetectorRecipe:
    """Return what a tiny detector is to learn, so fast that it can be seen."""
    return DetectorRecipe(
        architecture=TINY,
        conventions=CONVENTIONS,
        has_frozen_norms=False,
        vocabulary=VOCABULARY,
        training=TrainingOptions(regions_per_image=4, frozen_stages=0),
        optimization=replace(PRESETS[preset].optimization, warmup=0.0, learning_rate=1e-3),
        batch_size=2,
        num_steps=num_steps,
        precision="float32",
        seed=0,
        data={},
    )


def tiny_run(folder: Path, gold, recipe: DetectorRecipe, squares: Path) -> DetectorRun:
    """Return the run in `folder`, begun now or before, on the squares that `write_squares` wrote."""
    return begin_detector_run(folder, recipe, lambda: gold, image_files([squares / "images"]))


def task_of(run: DetectorRun, squares: Path, **options) -> DetectorTask:
    """Return what its ranks are told."""
    told = {"loader_workers": 0, "log_every": 1, "checkpoint_every": 1, "rules": EvaluationRules(min_score=0.05)}
    return DetectorTask(run=run.folder, images=(squares / "images",), **(told | options))
