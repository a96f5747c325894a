"""Where the words of a text are: the units that can point at regions, whatever the tokenizer."""

import re
from functools import lru_cache
from typing import NamedTuple

_WORD = re.compile(r"\w(?:\S*\w)?")


class Words(NamedTuple):
    """The words of one text: what stands between spaces, without punctuation around it.

    `the man's t-shirt.` has the words `the`, `man's` and `t-shirt`: a tokenizer's pieces of one word share its row.
    """

    starts: tuple[int, ...]
    ends: tuple[int, ...]
    lower: tuple[str, ...]


@lru_cache(maxsize=1 << 16)  # phrases repeat: `a man`, `two women`, `the street`
def find_words(text: str) -> Words:
    """Return the words of a text in their order."""
    matches = list(_WORD.finditer(text))
    return Words(
        starts=tuple(match.start() for match in matches),
        ends=tuple(match.end() for match in matches),
        lower=tuple(match[0].lower() for match in matches),
    )
