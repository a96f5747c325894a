"""A recipe: everything that decides a run's weights, beside the data. It is kept with the run, and never guessed."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from annotations.drops import DataError
from stores.atomic import write_json
from training.batches import BatchOptions
from training.models.two_stream import TwoStreamShape
from training.objectives.catalog import Objectives
from training.objectives.sizes import Sizes
from training.optimizers import Optimization

FILE_NAME = "recipe.json"

Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a run does; equal recipes on equal data give equal weights."""

    task: str
    """pretraining, or the name of a task in `training/tasks/catalog.py`."""
    encoder: TwoStreamShape
    sizes: Sizes
    objectives: Objectives
    """Of pre-training; a task has a loss of its own."""
    batches: BatchOptions
    optimization: Optimization
    sources: tuple[str, ...]
    """The data sets whose sentences are learnt from."""
    batch_size: int
    """Sentences a step, of all workers together."""
    num_steps: int
    precision: Precision
    seed: int
    data: dict[str, str]
    """Fingerprints of the two stores, and of what was started from."""


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """`folder` holds the recipe."""
    write_json(folder / FILE_NAME, asdict(recipe))


def read_recipe(folder: Path) -> Recipe:
    """Return the recipe of the run in `folder`.

    Raises:
        DataError: there is none, or it is not as this version writes it.
    """
    path = folder / FILE_NAME
    try:
        return TypeAdapter(Recipe).validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file, expected the folder of a run; see vinculum-train pretrain") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise DataError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}; expected a recipe") from error


def as_json(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as JSON values, as `write_recipe` writes them."""
    values: dict[str, Any] = json.loads(json.dumps(asdict(recipe)))
    return values
