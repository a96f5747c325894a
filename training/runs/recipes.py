"""A recipe: everything that decides a run's weights, beside the data. It is kept with the run, and never guessed.

A field that is added has a default that means what runs did before there was such a field, so that their recipes are
read. A preset asks for what is new. A field that is absent where every version wrote it is refused by its missing
default.
"""

import json
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, cast

from pydantic import Discriminator, TypeAdapter, ValidationError

from annotations.guards.drops import DataError
from annotations.guards.plain_json import parse_json
from stores.atomic import json_bytes, replacing, write_json
from stores.manifest import differences
from training.data.batches import BatchOptions
from training.data.maker_options import CaptionPairOptions, RankingGroupOptions
from training.models.catalog import EncoderShape
from training.objectives.catalog import Objectives
from training.objectives.sizes import Sizes
from training.runs.kept_files import write_digests
from training.runs.older_recipes import upgraded
from training.runs.optimizers import Optimization

FILE_NAME = "recipe.json"

PRETRAINING = "pretraining"
"""The task of a recipe that has objectives instead."""

Precision = Literal["float32", "bfloat16"]
Batches = Annotated[BatchOptions | CaptionPairOptions | RankingGroupOptions, Discriminator("kind")]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a run does; equal recipes on equal data give equal weights."""

    task: str
    """pretraining, or the name of a task in `training/tasks/catalog.py`."""
    encoder: EncoderShape
    sizes: Sizes
    objectives: Objectives
    """Objectives of pre-training; a task has a loss of its own."""
    batches: Batches
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

    def __post_init__(self) -> None:
        for name, least in (("batch_size", 1), ("num_steps", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, expected {least} or more")
        if self.batches.max_pieces > self.encoder.max_pieces:
            raise ValueError(
                f"max_pieces is {self.batches.max_pieces}, expected at most {self.encoder.max_pieces}, for which the "
                "encoder has positions"
            )
        for options in self.objectives.asked().values():
            options.require_encoder(self.encoder)
        self.batches.require_encoder(self.encoder)

    def require_needs(self) -> None:
        """The batches have what the objectives need.

        Raises:
            ValueError: an objective needs something that no option asks for; names the option.
        """
        for name, options in self.objectives.asked().items():
            for need in options.needs:
                if need not in self.batches.gives:
                    option = self.batches.option_of.get(need)
                    asks = f"batches.{option} on" if option else f"another task, whose batches have {need}"
                    raise ValueError(
                        f"objectives.{name} needs {need}, which these batches do not have; expected {asks}, or the "
                        "objective off"
                    )


R = TypeVar("R")
RECIPES = TypeAdapter(Recipe)


def write_recipe(folder: Path, recipe: Recipe) -> None:
    """`folder` holds the recipe."""
    write_recipe_of(RECIPES, folder, recipe)


def begin_recipe(folder: Path, recipe: Recipe, beside: Collection[str]) -> None:
    """See `write_last`."""
    write_last(RECIPES, folder, recipe, beside)


def read_recipe(folder: Path) -> Recipe:
    """Return the recipe of the run in `folder`.

    Raises:
        DataError: there is none, it has a field that this version does not know, or a value that it does not take.
    """
    return read_recipe_of(RECIPES, folder, upgrade=upgraded)


def as_json(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as JSON values, as `write_recipe` writes them; a share of 0 is 0.0, whoever wrote it."""
    return as_json_of(RECIPES, recipe)


def write_recipe_of(kind: TypeAdapter[R], folder: Path, recipe: R) -> None:
    """`folder` holds a recipe of this kind."""
    write_json(folder / FILE_NAME, as_json_of(kind, recipe))


def write_last(kind: TypeAdapter[R], folder: Path, recipe: R, beside: Collection[str]) -> None:
    """`folder` holds a recipe, with the digests of it and of files beside it; who finds a recipe finds everything."""
    with replacing(folder / FILE_NAME) as temporary:
        temporary.write_bytes(json_bytes(as_json_of(kind, recipe)))
        write_digests(folder, {FILE_NAME: temporary, **{name: folder / name for name in beside}})


def read_recipe_of(kind: TypeAdapter[R], folder: Path, *, upgrade: Callable[[Any], Any] = lambda values: values) -> R:
    """Return the recipe of this kind; see `read_recipe`.

    Args:
        upgrade: from the JSON values of an older version to those of this one.
    """
    path = folder / FILE_NAME
    try:
        content = path.read_bytes()
        with suppress(ValueError):  # what is no JSON is refused below
            content = json.dumps(upgrade(parse_json(content))).encode()
        recipe = kind.validate_json(content)
    except FileNotFoundError as error:
        run = folder.resolve().parent.parent
        advice = f"this is a checkpoint, give its run, {run}" if (run / FILE_NAME).exists() else "see vinculum-train"
        raise DataError(f"{path}: no such file, expected the folder of a run; {advice}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DataError(f"{path}: {where}: {first['msg']}; expected a recipe of this version") from error
    # What was guessed, or read past, would come out otherwise; of what is absent the default is as it was before.
    written, read = parse_json(content), as_json_of(kind, recipe)
    if unknown := list(unknown_fields("", written, read)):
        raise DataError(
            f"{path}: has {', '.join(unknown[:3])}, which this version does not know; expected a recipe of this "
            "version or an older one. Open it with the version that wrote it, or a newer one"
        )
    if found := list(differences("", written, _as_far_as(written, read))):
        raise DataError(f"{path}: {'; '.join(found[:3])}; expected a recipe of this version or an older one")
    return recipe


def unknown_fields(path: str, written: Any, read: Any) -> Iterator[str]:
    """Yield the fields that the file has and the recipe has not, by where they stand."""
    if isinstance(written, dict) and isinstance(read, dict):
        for name, value in written.items():
            below = f"{path}.{name}" if path else name
            yield from unknown_fields(below, value, read[name]) if name in read else (below,)


def _as_far_as(written: Any, read: Any) -> Any:
    """Return the recipe without the fields that the file lacks: an older version wrote it, which had no such thing."""
    if isinstance(written, dict) and isinstance(read, dict):
        return {name: _as_far_as(written[name], value) for name, value in read.items() if name in written}
    return read


def as_json_of(kind: TypeAdapter[R], recipe: R) -> dict[str, Any]:
    """Return a recipe of this kind as JSON values; see `as_json`."""
    checked: Any = kind.validate_python(asdict(cast(Any, recipe)))
    values: dict[str, Any] = json.loads(json.dumps(asdict(checked)))
    return values
