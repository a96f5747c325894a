"""What decides a detector's weights: kept with its run as `recipe.json`, as every run's recipe is.

RUN/recipe.json  gold.npz  digests.json  checkpoints/  metrics.jsonl  tensorboard/  scores.jsonl
RUN/detector.safetensors  scores.json  classes.tsv  attributes.tsv   once it is finished
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from detectors.conventions import Conventions
from detectors.gold_boxes import GoldBoxes
from detectors.networks.faster_rcnn import Architecture
from detectors.training import TrainingOptions
from detectors.vocabulary import Vocabulary
from stores.atomic import replacing
from stores.errors import StoreError
from stores.manifest import differences
from stores.programs.terminal import printable
from training.detector.gold_images import images_sha256
from training.runs.folder import require_kept
from training.runs.optimizers import Optimization
from training.runs.recipes import FILE_NAME, Precision, as_json_of, read_recipe_of, write_last

GOLD = "gold.npz"
IMAGES = "images"
"""Where `data` has the digest of the files; see `images_sha256`."""

PresetName = Literal["adamw", "bottom-up-attention", "detectron2"]


@dataclass(frozen=True, kw_only=True)
class DetectorPreset:
    """How long and how fast a detector learns."""

    optimization: Optimization
    num_steps: int
    batch_size: int
    """Images a step, of all workers together."""


PRESETS: dict[PresetName, DetectorPreset] = {
    "adamw": DetectorPreset(
        optimization=Optimization(
            optimizer="adamw", learning_rate=1e-3, schedule="cosine", epsilon=1e-8, weight_decay=1e-4, clip=10.0
        ),
        num_steps=3000,
        batch_size=8,
    ),
    # solver.prototxt of its ResNet-101, on 8 GPUs; a step is one image a GPU.
    "bottom-up-attention": DetectorPreset(
        optimization=Optimization(
            optimizer="sgd", learning_rate=1e-3, schedule="steps", step_at=(350 / 380,), warmup=0.0,
            weight_decay=5e-4, clip=0.0,
        ),
        num_steps=380_000,
        batch_size=8,
    ),
    # configs/d2 of MILVLG's bottom-up-attention.pytorch, and detectron2's own defaults.
    "detectron2": DetectorPreset(
        optimization=Optimization(
            optimizer="sgd", learning_rate=0.01, schedule="steps", step_at=(120 / 180, 160 / 180), warmup=1 / 180,
            weight_decay=1e-4, clip=0.0,
        ),
        num_steps=180_000,
        batch_size=8,
    ),
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class DetectorRecipe:
    """What a run does; equal recipes on equal images give equal weights."""

    task: Literal["detector"] = "detector"
    architecture: Architecture
    conventions: Conventions
    has_frozen_norms: bool
    """As weights that one starts from have them; a network that starts from noise learns its norms."""
    vocabulary: Vocabulary
    training: TrainingOptions
    optimization: Optimization
    batch_size: int
    """Images a step, of all workers together."""
    num_steps: int
    """0 where weights are only measured."""
    precision: Precision
    """Number format of the ResNet; all else is float32."""
    seed: int
    data: dict[str, str]
    """SHA-256 of the annotation files, of the images and of what was started from."""

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("num_steps", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, expected {least} or more")


_RECIPES = TypeAdapter(DetectorRecipe)


@dataclass(frozen=True, kw_only=True, eq=False)
class DetectorRun:
    """A detector's run that was begun."""

    folder: Path
    recipe: DetectorRecipe
    gold: GoldBoxes


def begin_detector_run(
    folder: Path, recipe: DetectorRecipe, read_gold: Callable[[], GoldBoxes], files: Mapping[str, str]
) -> DetectorRun:
    """`folder` is the folder of this run, new or begun before; the gold boxes are read when it is new.

    Args:
        files: the images' files, by id.

    Raises:
        StoreError: another recipe began it, all of whose differences are named; or its images were others.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / FILE_NAME).exists():
        run = open_detector_run(folder)
        images = {IMAGES: run.recipe.data[IMAGES]} if IMAGES in run.recipe.data else {}
        asked = replace(recipe, data=recipe.data | images)
        if found := list(differences("", as_json_of(_RECIPES, run.recipe), as_json_of(_RECIPES, asked))):
            raise StoreError(f"{folder}: {'; '.join(found)}; use a new --out, or the options that the run has")
        if IMAGES not in run.recipe.data:
            told = (
                f"{folder}: an older version began it and recorded nothing of its images; whether these are the same "
                "cannot be checked beyond their names"
            )
            print(printable(told), file=sys.stderr)
        require_same_images(run, files)
        return run
    gold = read_gold()
    recipe = replace(recipe, data=recipe.data | {IMAGES: images_sha256(gold.image_ids.tolist(), files)})
    with replacing(folder / GOLD) as temporary:
        gold.save(temporary)
    write_last(_RECIPES, folder, recipe, (GOLD,))
    return DetectorRun(folder=folder, recipe=recipe, gold=gold)


def require_same_images(run: DetectorRun, files: Mapping[str, str]) -> None:
    """The files, by the images' ids, are those that the run began with, as far as its recipe records that.

    Raises:
        StoreError: they are not.
        DataError: one is gone.
    """
    expected = run.recipe.data.get(IMAGES)
    if expected is not None and (found := images_sha256(run.gold.image_ids.tolist(), files)) != expected:
        raise StoreError(
            f"{run.folder}: its images have SHA-256 {found}, expected {expected}: files of the same names with "
            "other pictures. Use those that it began with, or a new --out"
        )


def open_detector_run(folder: Path) -> DetectorRun:
    """Return the detector's run in `folder`.

    Raises:
        DataError: it is none.
        DamagedFileError: a file of it has changed.
    """
    if (folder / FILE_NAME).exists():
        require_kept(folder, (FILE_NAME, GOLD))
    return DetectorRun(folder=folder, recipe=read_recipe_of(_RECIPES, folder), gold=GoldBoxes.load(folder / GOLD))


def optimization_of(preset: DetectorPreset, *, learning_rate: float | None, weight_decay: float | None) -> Optimization:
    """Return the preset's optimization with what is asked for against it."""
    asked = preset.optimization
    if learning_rate is not None:
        asked = replace(asked, learning_rate=learning_rate)
    return asked if weight_decay is None else replace(asked, weight_decay=weight_decay)
