"""Text whose words know which things of a scene they name.

It is written with marks: `[3:a red car] is near [0,2:two cats] in [:a meadow]`.
"""

import re
from dataclasses import dataclass, replace

_MARK = re.compile(r"\[([\d,]*):([^\]]+)\]")


@dataclass(frozen=True, kw_only=True)
class Mention:
    """Words that name something."""

    start: int
    """First character."""
    end: int
    """One past the last character."""
    objects: tuple[int, ...]
    """Indices into the scene's objects; none where the words name the place."""


@dataclass(frozen=True, kw_only=True)
class MarkedText:
    """A text, and what its words name."""

    text: str
    mentions: tuple[Mention, ...] = ()
    """In the order of the text; none overlap."""

    def as_sentence(self) -> "MarkedText":
        """Return the same beginning with a capital and ending with a full stop."""
        return replace(self, text=f"{self.text[0].upper()}{self.text[1:]}.")

    def words_of(self, mention: Mention) -> str:
        return self.text[mention.start : mention.end]

    def span_of_noun(self, mention: Mention) -> tuple[int, int]:
        """Return where the mention's last word is: what is named, without article and adjectives."""
        return mention.end - len(self.words_of(mention).rpartition(" ")[2]), mention.end


def mark(words: str, *objects: int) -> str:
    """Return the words with a mark, to be put into a longer text that `read_marks` reads."""
    return f"[{','.join(map(str, objects))}:{words}]"


def read_marks(marked: str) -> MarkedText:
    """Return the text without its marks, and the mentions they were put for."""
    before, *rest = _MARK.split(marked)
    text, mentions = before, []
    for objects, words, after in zip(rest[0::3], rest[1::3], rest[2::3], strict=True):
        named = tuple(int(number) for number in objects.split(",") if number)
        mentions.append(Mention(start=len(text), end=len(text) + len(words), objects=named))
        text += words + after
    return MarkedText(text=text, mentions=tuple(mentions))
