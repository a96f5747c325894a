"""Tables of the report: what runs are, in what their recipes differ, and what was measured on them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotations.guards.drops import DataError
from annotations.guards.plain_json import parse_json
from training.models.catalog import EncoderShape
from training.runs.recipes import Recipe, as_json

FIGURE_FILES = ("probe.json", "scores-*.json")
"""What measurements leave in the folder of a run."""

MAX_SHOWN = 60
_ABSENT = object()
_LAYERS = {"cross": "cross layer", "joint": "layer"}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One value."""

    text: str
    of: str = ""
    """Denominator of a share or a mean, where it is known."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One option or figure, with a cell for every run."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Table:
    """The figures of files of one name."""

    name: str
    rows: tuple[Row, ...]


def recipe_differences(recipes: Sequence[Recipe]) -> tuple[Row, ...]:
    """Return a row for every option that the recipes do not share; an objective that a recipe lacks is one row."""
    return tuple(
        Row(name=" · ".join(_words(part) for part in path), cells=tuple(Cell(text=_told(value)) for value in values))
        for path, values in _different((), [as_json(recipe) for recipe in recipes])
    )


def figure_tables(folders: Sequence[Path]) -> tuple[Table, ...]:
    """Return a table for each name of a file of figures that any of the runs has.

    Raises:
        DataError: a file is no JSON object.
    """
    names = dict.fromkeys(
        path.name for pattern in FIGURE_FILES for folder in folders for path in sorted(folder.glob(pattern))
    )
    return tuple(
        Table(
            name=name.removesuffix(".json"),
            rows=figure_rows([read_figures(folder / name) for folder in folders]),
        )
        for name in names
    )


def figure_rows(figures: Sequence[Mapping[str, Any]]) -> tuple[Row, ...]:
    """Return a row for every figure that any of the runs has, with a cell for each run."""
    found = [dict(_figures((), each)) for each in figures]
    return tuple(
        Row(
            name=" · ".join(_words(part) for part in path),
            cells=tuple(each.get(path, Cell(text="")) for each in found),
        )
        for path in dict.fromkeys(path for each in found for path in each)
    )


def as_markdown(rows: Sequence[Row], names: Sequence[str]) -> str:
    """Return rows as a Markdown table whose columns are these runs, aligned for eyes that read it as it is."""
    return markdown_table([["", *names], *([row.name, *(_with_count(cell) for cell in row.cells)] for row in rows)])


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table of these rows, the first its head, aligned for eyes that read it as it is."""
    lines = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(*lines, strict=True)]
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join(
        f"| {' | '.join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))} |" for line in lines
    )


def read_figures(path: Path, *, advice: str = "measure the run again") -> Mapping[str, Any]:
    """Return what a measurement left; empty where there is none.

    Raises:
        DataError: the file is no JSON object.
    """
    if not path.exists():
        return {}
    try:
        value = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"{path}: unreadable ({error}), expected JSON; {advice}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path}: holds a {type(value).__name__}, expected an object of figures; {advice}")
    return value


def describe_encoder(shape: EncoderShape) -> str:
    """Return an encoder's sizes in few words."""
    return f"{shape.layers}; width {shape.hidden_size}, {shape.num_heads} heads"


def _different(path: tuple[str, ...], values: Sequence[Any]) -> Iterator[tuple[tuple[str, ...], Sequence[Any]]]:
    """Yield paths and values of what is not the same everywhere."""
    if all(isinstance(value, dict) for value in values):
        for key in dict.fromkeys(key for value in values for key in value):
            yield from _different((*path, key), [value.get(key, _ABSENT) for value in values])
    elif any(value != values[0] for value in values):
        yield path, values


def _figures(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Cell]]:
    """Yield what a table shows of a JSON value: a number under its path, and of how many it is."""
    if isinstance(value, dict) and {"value", "of"} <= value.keys():
        yield path, Cell(text=_measured(value["value"]), of=_told(value["of"]))
        value = {key: each for key, each in value.items() if key not in ("value", "of")}
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _figures((*path, key), each)
    elif value is not None:
        yield path, Cell(text=_measured(value))


def _with_count(cell: Cell) -> str:
    return f"{cell.text} of {cell.of}" if cell.of else cell.text or "-"


def _measured(value: Any) -> str:
    """Return a figure so that those below each other have their points below each other."""
    return f"{value:.3f}" if isinstance(value, float) and 0.001 <= abs(value) < 10 else _told(value)


def _told(value: Any) -> str:
    """Return a JSON value in few words."""
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:,.4g}"
        case str():
            return value if len(value) <= MAX_SHOWN else f"{value[:12]}…"
        case list():
            told = ", ".join(_told(each) for each in value)
            return told if len(told) <= MAX_SHOWN else f"{len(value)} entries"
        case dict():
            return ", ".join(f"{_words(key)} {_told(each)}" for key, each in value.items())
    return ""  # what the run does not have at all


def _words(name: str) -> str:
    """Return a name as people say it; layers are counted from 1, as the papers count them."""
    named = re.sub(r"\b(cross|joint)\.(\d+)$", lambda match: f"{_LAYERS[match[1]]} {int(match[2]) + 1}", name)
    return named.replace("_", " ")
