"""Fields of a recipe that a command line sets, as in `--set objectives.matching.weight=2`; some others decide."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from pydantic import ValidationError

from annotations.guards.plain_json import parse_json
from stores.programs.command_line import did_you_mean
from training.model import Model
from training.runs.recipes import RECIPES, Recipe, as_json, unknown_fields

DECIDED = {
    "task": "the command decides it",
    "data": "the stores decide it",
    "sizes": "the stores, the tokenizer and the answers decide it",
    "encoder.kind": "the preset decides it",
    "encoder.vocab_size": "the tokenizer decides it",
    "encoder.feature_dim": "the stores decide it",
    "batch_size": "use --batch-size",
    "batches.kind": "the task decides it",
    "batches.candidates": "use --candidates of finetune",
    "num_steps": "use --steps or --epochs",
    "sources": "the preset, the task or --sources decides it",
    "seed": "use --seed",
    "precision": "use --precision",
}
"""Fields on which others depend, or that have an option of their own."""


class FieldError(ValueError):
    """What --set asks for is no field of the recipe, or no value that it takes; the message says what is."""


@dataclass(frozen=True, kw_only=True)
class _Change:
    """One `--set FIELD=VALUE`."""

    field: str
    value: Any
    text: str

    @classmethod
    def of(cls, text: str) -> "_Change":
        field, equals, value = text.partition("=")
        if not (field and equals):
            raise FieldError(f"--set {text!r}: expected FIELD=VALUE, such as objectives.matching.weight=2")
        for decided, why in DECIDED.items():
            if f"{field}.".startswith(f"{decided}."):
                raise FieldError(f"--set {text}: {decided} cannot be set; {why}")
        try:
            return cls(field=field, value=parse_json(value), text=text)
        except ValueError:  # a word needs no quotation marks
            return cls(field=field, value=value, text=text)

    def apply(self, recipe: dict[str, Any]) -> None:
        """The recipe, as JSON values, has the value."""
        *parents, last = self.field.split(".")
        values, path = recipe, ""
        for name in parents:
            self._require(name, values, path)
            path = f"{path}.{name}" if path else name
            if values[name] is None:
                raise FieldError(f"--set {self.text}: {path} is off in this recipe; put --set {path}={{}} before it")
            if not isinstance(values[name], dict):
                raise FieldError(f"--set {self.text}: {path} is {json.dumps(values[name])}, which has no fields")
            values = values[name]
        if values:  # an objective that was just switched on has its fields when it is read
            self._require(last, values, path)
        values[last] = self.value

    def _require(self, name: str, values: dict[str, Any], path: str) -> None:
        if name not in values:
            raise FieldError(f"--set {self.text}: {path or 'a recipe'} has no {name!r}; {did_you_mean(name, values)}")

    def found_in(self, recipe: dict[str, Any]) -> Any:
        """Return what a recipe, as JSON values, has in the field."""
        found: Any = recipe
        for name in self.field.split("."):
            found = found[name] if isinstance(found, dict) else None
        return found


def with_fields(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """Return the recipe with each `FIELD=VALUE` set, in order; a value is JSON, or a word.

    Raises:
        FieldError: there is no such field, its value is decided otherwise, or it does not take this one.
    """
    for text in changes:
        change = _Change.of(text)
        values = as_json(recipe)
        change.apply(values)
        try:
            recipe = RECIPES.validate_json(json.dumps(values), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            raise FieldError(f"--set {text}: {first['msg'].removeprefix('Value error, ')}") from error
        if unknown := list(unknown_fields("", values, as_json(recipe))):
            raise FieldError(f"--set {text}: a recipe has no {unknown[0]}")
    if changes:
        _require_model(recipe, changes)
    return recipe


def require_kept(recipe: Recipe, changes: Sequence[str]) -> None:
    """The recipe has what was set, though some fields follow from others.

    Raises:
        FieldError: it has not.
    """
    values = as_json(recipe)
    last = {change.field: change for change in map(_Change.of, changes)}
    for change in last.values():
        found = change.found_in(values)
        if not isinstance(change.value, dict) and found != change.value:
            raise FieldError(
                f"--set {change.text}: this recipe has {json.dumps(found)} there, since the objective that it is for "
                "is off; switch that on, or leave the field"
            )


def _require_model(recipe: Recipe, changes: Sequence[str]) -> None:
    """A model of the recipe can be built; what no record checks, torch does."""
    try:
        with torch.device("meta"):
            Model(recipe.encoder, recipe.objectives, recipe.sizes)
    except (ValueError, RuntimeError, AssertionError, ArithmeticError, TypeError) as error:
        raise FieldError(f"--set {' '.join(changes)}: no model has these values: {error}") from error
