"""Reads text files a line at a time, and file names that tell a split."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from annotations.guards.drops import DataError
from annotations.records import Split

SPLIT_WORDS: Mapping[str, Split] = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testdev": "test",
    "teststd": "test",
}
"""The words of a file's name that are its split in every data set; a data set adds its own official ones."""

_SPACE = re.compile(r"[^a-z0-9]+")
_TEST_OF_TESTS = re.compile(r"test[-_ ](?=dev|std)")


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


def split_in_name(name: str, words: Mapping[str, Split] = SPLIT_WORDS, *, place: str | Path) -> Split:
    """Return the split that a file's name tells by one of the words: `captions_val2017.json` is val, `test1` is test.

    A word counts whole, without the digits that end it, and never inside another: `latest` is not test. A name without
    any has no split, since training on what is evaluated elsewhere must not happen by default.

    Raises:
        DataError: the name has none of the words, or words of several splits; the message begins with `place`.
    """
    found = splits_in_name(name, words)
    if len(found) == 1:
        return found.pop()
    told = f"names the splits {' and '.join(sorted(found))}" if found else "names no split"
    raise DataError(
        f"{place}: {name!r} {told}, expected one of the words {', '.join(words)} in it, set off by '_', '-' or '.'; "
        "rename the file, or link it under such a name"
    )


def splits_in_name(name: str, words: Mapping[str, Split] = SPLIT_WORDS) -> set[Split]:
    """Return the splits of all of the words that stand in the name, which may be none."""
    parts = _SPACE.split(_TEST_OF_TESTS.sub("test", name.lower()))
    return {words[word] for part in parts for word in {part, part.rstrip("0123456789")} if word in words}


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
