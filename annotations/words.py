"""Where the words of a text are: the units that can point at regions, whatever the tokenizer."""

import re
from functools import lru_cache

_WORD = re.compile(r"\w(?:\S*\w)?")


@lru_cache(maxsize=1 << 16)  # phrases repeat: `a man`, `two women`, `the street`
def word_spans(text: str) -> tuple[tuple[int, int], ...]:
    """Return start and end of every word: what stands between spaces, without punctuation around it.

    `the man's t-shirt.` has the words `the`, `man's` and `t-shirt`: a tokenizer's pieces of one word share its row.
    """
    return tuple(match.span() for match in _WORD.finditer(text))
