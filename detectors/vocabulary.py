"""The names behind a detector's class and attribute ids."""

from dataclasses import dataclass
from pathlib import Path

from annotations.guards.shown import shown

CLASS_FILES = ("objects_vocab.txt", "vg_objects_vocab.txt")
ATTRIBUTE_FILES = ("attributes_vocab.txt", "vg_attributes_vocab.txt")


class VocabularyError(ValueError):
    """A vocabulary file is absent or has a faulty line; the message names the file and the line."""


@dataclass(frozen=True, kw_only=True)
class Vocabulary:
    """What each id is called; the background class and "no attribute" have no row."""

    classes: tuple[str, ...]
    """Row number is class_id; aliases stay as written, `stop sign,stopsign`."""
    attributes: tuple[str, ...]
    """Row number is attribute_id; aliases stay as written, `gray,grey`."""


def require_same_names(own: Vocabulary, given: Vocabulary, owner: str) -> None:
    """The given names are those that the owner has.

    Raises:
        VocabularyError: they are others; names the owner, and the first name that differs with its own.
    """
    for kind, has, wants in (
        ("class", own.classes, given.classes),
        ("attribute", own.attributes, given.attributes),
    ):
        if len(has) != len(wants):
            raise VocabularyError(f"vocabulary has {len(wants)} names of the kind {kind}, {owner} have {len(has)}")
        row = next((row for row, (a, b) in enumerate(zip(has, wants, strict=True)) if a != b), None)
        if row is not None:
            raise VocabularyError(
                f"vocabulary calls {kind} {row} {wants[row]!r}, {owner} have names of their own and call it "
                f"{has[row]!r}; expected these, or no --vocabulary"
            )


def read_vocabulary(folder: Path) -> Vocabulary:
    """Return the names in bottom-up-attention's two files, one name a line, in `folder`.

    Without a file of attributes there are none: not every detector tells them.
    """
    has_attributes = any((folder / name).is_file() for name in ATTRIBUTE_FILES)
    return Vocabulary(
        classes=_read_names(_existing(folder, CLASS_FILES)),
        attributes=_read_names(_existing(folder, ATTRIBUTE_FILES)) if has_attributes else (),
    )


def numbered_vocabulary(num_classes: int, num_attributes: int) -> Vocabulary:
    """Return stand-ins for weights that were never trained: `class 0012`, `attribute 007`."""
    return Vocabulary(
        classes=tuple(f"class {number:04}" for number in range(num_classes)),
        attributes=tuple(f"attribute {number:03}" for number in range(num_attributes)),
    )


def _existing(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise VocabularyError(f"{folder}: holds none of {', '.join(names)}; give the folder of a detector's vocabulary")


def _read_names(path: Path) -> tuple[str, ...]:
    try:
        names = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except UnicodeDecodeError as error:
        raise VocabularyError(f"{path}: not UTF-8 ({error}), expected one name a line") from error
    line_of: dict[str, int] = {}
    for line, name in enumerate(names, start=1):
        if not name:
            raise VocabularyError(f"{path}, line {line}: blank, expected a name")
        if name in line_of:
            raise VocabularyError(f"{path}, line {line}: {shown(name)} stands on line {line_of[name]} already")
        line_of[name] = line
    if not names:
        raise VocabularyError(f"{path}: empty, expected one name a line")
    return tuple(names)
