"""Reads text files a line at a time, and file names that tell a split."""

from collections.abc import Iterator
from pathlib import Path

from annotations.drops import DataError
from annotations.records import Split

_WORDS: dict[str, Split] = {"train": "train", "val": "val", "dev": "val", "minival": "val", "test": "test"}


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a UTF-8 file, stripped, without empty ones.

    Raises:
        DataError: there is no such file, or it is not UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line in file:
                if line := line.strip():
                    yield line
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file, expected a list with one entry a line") from error
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: not UTF-8 text ({error.reason} at byte {error.start}), expected one entry a line"
        ) from error


def split_in_name(name: str, *, otherwise: Split = "train") -> Split:
    """Return the split a file or folder name tells: `captions_val2017.json` is val, `testdev` and `test-P` are test."""
    lower = name.lower()
    for word in ("train", "test", "minival", "val", "dev"):
        if word in lower:
            return _WORDS[word]
    return otherwise


def json_files(path: Path, *patterns: str) -> list[Path]:
    """Return the file itself, or a folder's files of the first pattern that any matches, in the order of their names.

    Raises:
        DataError: there is none.
    """
    if path.is_file():
        return [path]
    for pattern in patterns:
        if found := sorted(path.glob(pattern)):
            return found
    raise DataError(f"{path}: no {' or '.join(patterns)} there; check the path")
