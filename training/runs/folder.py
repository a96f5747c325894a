"""The folder of a run: its recipe, its tokenizer, its table of answers, its checkpoints, and what it measured.

RUN/recipe.json  tokenizer.json  answers.json  digests.json  checkpoints/  metrics.jsonl  tensorboard/
"""

import platform
import sys
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from annotations.answers import AnswerVocabulary, read_answer_vocabulary
from annotations.guards.drops import DataError
from stores.atomic import write_json
from stores.errors import StoreError
from stores.manifest import differences
from stores.programs.terminal import printable
from training.data.tokenizer import FILE_NAME as TOKENIZER
from training.data.tokenizer import TextTokenizer, load_tokenizer
from training.runs.kept_files import has_digests, require_unchanged
from training.runs.recipes import FILE_NAME, Recipe, as_json, begin_recipe, read_recipe

ANSWERS = "answers.json"


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """A run that was begun."""

    folder: Path
    recipe: Recipe
    tokenizer: TextTokenizer
    answers: AnswerVocabulary


def begin_run(folder: Path, recipe: Recipe, tokenizer: TextTokenizer, answers: AnswerVocabulary) -> Run:
    """`folder` is the folder of this run, new or begun before.

    Raises:
        StoreError: another recipe began it; names every option that differs, with both values.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if is_begun(folder):
        return begun_alike(folder, recipe, tokenizer, answers)
    tokenizer.save(folder)
    write_json(folder / ANSWERS, list(answers.answers))
    begin_recipe(folder, recipe, (TOKENIZER, ANSWERS))
    return Run(folder=folder, recipe=recipe, tokenizer=tokenizer, answers=answers)


def look_ahead(folder: Path, recipe: Recipe, tokenizer: TextTokenizer, answers: AnswerVocabulary) -> Run:
    """Return the run that `begin_run` would give; nothing is written."""
    if is_begun(folder):
        return begun_alike(folder, recipe, tokenizer, answers)
    return Run(folder=folder, recipe=recipe, tokenizer=tokenizer, answers=answers)


def begun_alike(folder: Path, recipe: Recipe, tokenizer: TextTokenizer, answers: AnswerVocabulary) -> Run:
    """Return the run that was begun in `folder`, with all of these.

    Raises:
        StoreError: another recipe began it; names every option that differs, with both values.
    """
    begun = open_run(folder)
    found = list(differences("", as_json(begun.recipe), as_json(recipe)))
    if begun.tokenizer.backend.to_str() != tokenizer.backend.to_str():
        found.append("the tokenizer was another one")
    if begun.answers.answers != answers.answers:
        found.append("the table of answers was another one")
    if found:
        raise StoreError(f"{folder}: {'; '.join(found)}; use a new --out, or the options that the run has")
    return begun


def require_begun_with(data: Mapping[str, str], name: str, found: str) -> None:
    """What a rank read is what the run began with, as its recipe's data has it; an older recipe may not have it.

    Raises:
        StoreError: it is another; names this node and both values.
    """
    recorded = data.get(name)
    if recorded is not None and recorded != found:
        raise StoreError(
            f"node {platform.node()}: data.{name} was {recorded!r}, this rank read {found!r}; expected what the run "
            "began with. Put the same files on every node, let nobody replace them, and run again"
        )


def is_begun(folder: Path) -> bool:
    """Return whether `folder` is that of a run."""
    return (folder / FILE_NAME).exists()


def open_run(folder: Path) -> Run:
    """Return the run in `folder`.

    Raises:
        DataError: it is none.
        DamagedFileError: a file of it has changed.
    """
    if is_begun(folder):
        require_kept(folder, (FILE_NAME, TOKENIZER, ANSWERS))
    recipe = read_recipe(folder)
    tokenizer = load_tokenizer(str(folder))
    if tokenizer.vocab_size != recipe.sizes.vocab_size:
        raise DataError(
            f"{folder}: its tokenizer has {tokenizer.vocab_size} pieces, expected {recipe.sizes.vocab_size} as the "
            "recipe says"
        )
    return Run(folder=folder, recipe=recipe, tokenizer=tokenizer, answers=read_answer_vocabulary(folder / ANSWERS))


def require_kept(folder: Path, names: Collection[str]) -> None:
    """These files of a run are as they were written.

    Raises:
        DamagedFileError: one is not.
    """
    if not has_digests(folder):
        _tell_older(folder)
    require_unchanged(folder, names, advice="bring back the file as it was; a run is never edited, but begun anew")


@cache
def _tell_older(folder: Path) -> None:
    """Standard error is told once that nothing is known of a run's files."""
    told = (
        f"{folder}: an older version began it and recorded no digests of its files; whether they are as they were "
        "cannot be checked"
    )
    print(printable(told), file=sys.stderr)


def named_folders(option: str, told: Iterable[str]) -> dict[str, Path]:
    """Return folders by name, of NAME=FOLDER.

    Raises:
        ValueError: there is none, one is written otherwise, or a name is there twice; says which option.
    """
    named: dict[str, Path] = {}
    for each in told:
        name, equals, folder = each.partition("=")
        if not (name and equals and folder) or name in named:
            raise ValueError(f"{option} {each!r}: expected NAME=RUN, every name once")
        named[name] = Path(folder)
    if not named:
        raise ValueError(f"{option} names nothing; expected NAME=RUN, any number")
    return named
