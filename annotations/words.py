"""Where the words of a text are: the units that can point at regions, whatever the tokenizer."""

import re
import sys

_WORD = re.compile(r"\w(?:\S*\w)?")


def word_spans(text: str, start: int = 0, end: int = sys.maxsize) -> list[tuple[int, int]]:
    """Return start and end of every word between two places: what stands between spaces, without punctuation around it.

    `the man's t-shirt.` has the words `the`, `man's` and `t-shirt`: a tokenizer's pieces of one word share its row.
    """
    return [match.span() for match in _WORD.finditer(text, start, end)]
