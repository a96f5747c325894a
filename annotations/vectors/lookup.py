"""How similar phrases are: the cosine of the means of their words' vectors."""

import re
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from annotations.guards.drops import Drops
from annotations.vectors.files import VectorTable, read_vector_file

Aliases = Literal["first", "max"]
"""Aliases that are compared of a name `stop sign,stopsign`: the first, or whichever is most similar."""

_SEPARATORS = re.compile(r"[\s\-\u2010-\u2014]+")
_POSSESSIVE = re.compile(r"['\u2019]s$")


class WordVectors:
    """A table of word vectors, asked about phrases; what has no vector is out of vocabulary, OOV, and never an error.

    Axes: P phrases, N names, D numbers of a vector.
    """

    def __init__(self, table: VectorTable) -> None:
        self.dim = table.vectors.shape[1]
        self._rows = table.rows
        self._vectors = table.vectors
        self._names_key: tuple[tuple[str, ...], Aliases] = ((), "first")
        self._names: tuple[list[int], NDArray[np.float32]] = ([], self._units(()))

    @classmethod
    def none(cls) -> "WordVectors":
        """Return vectors of no word."""
        return cls(VectorTable(rows={}, vectors=np.zeros((0, 1), np.float32)))

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, word: str) -> bool:
        return word in self._rows

    def phrase_vector(self, phrase: str) -> NDArray[np.float32] | None:
        """Return float32 [D], the mean vector of the words that have one; None if the phrase is OOV.

        Words are what spaces and hyphens separate, in lower case. One that is absent is tried without a possessive 's,
        then without punctuation around it, then without any. A mean of zero or no number is OOV as well: it has no
        direction.
        """
        rows = [row for word in _SEPARATORS.split(phrase.lower()) if (row := self._find(word)) is not None]
        if not rows:
            return None
        mean: NDArray[np.float32] = self._vectors[rows[0]]
        if len(rows) > 1:
            mean = self._vectors[rows].mean(axis=0, dtype=np.float64).astype(np.float32)
        norm = np.linalg.norm(mean)
        return mean if norm > 0 and np.isfinite(norm) else None

    def similarity(
        self, phrases: Sequence[str], names: Sequence[str], *, aliases: Aliases = "first"
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return float32 [P, N], cosines from -1 to 1, and bool [P], the phrases that are OOV; OOV is similar to none.

        Args:
            phrases: words of texts.
            names: a detector's classes or attributes; commas separate aliases.
            aliases: which of them count. An OOV alias does not.
        """
        units_PD = self._units(phrases)
        firsts, units_ND = self._units_of_names(names, aliases)
        cosines = units_PD @ units_ND.T
        if aliases == "max" and names:
            cosines[:, ~np.any(units_ND, axis=1)] = -np.inf
            cosines = np.maximum.reduceat(cosines, firsts, axis=1)
            cosines[np.isinf(cosines)] = 0
        oov: NDArray[np.bool_] = ~np.any(units_PD, axis=1)
        return np.clip(cosines, -1, 1, out=cosines), oov

    def _units_of_names(self, names: Sequence[str], aliases: Aliases) -> tuple[list[int], NDArray[np.float32]]:
        """Return where each name's aliases begin, and the unit vectors of all aliases that count.

        Kept, because a detector's names are the same call after call.
        """
        key = (tuple(names), aliases)
        if key != self._names_key:
            split = [name.split(",")[: 1 if aliases == "first" else None] for name in names]
            firsts = list(accumulate((len(each) for each in split[:-1]), initial=0))
            self._names_key = key
            self._names = firsts, self._units([alias for each in split for alias in each])
        return self._names

    def _units(self, phrases: Sequence[str]) -> NDArray[np.float32]:
        """Return float32 [P, D] of length 1, or 0 where a phrase is OOV."""
        units = np.zeros((len(phrases), self.dim), np.float32)
        for unit, phrase in zip(units, phrases, strict=True):
            vector = self.phrase_vector(phrase)
            if vector is not None:
                unit[:] = vector / np.linalg.norm(vector)
        return units

    def _find(self, word: str) -> int | None:
        if word in self._rows:
            return self._rows[word]
        return next((self._rows[each] for each in _spellings(word) if each in self._rows), None)


def read_word_vectors(path: Path, *, drops: Drops | None = None) -> WordVectors:
    """Return the vectors of a GloVe, word2vec or gensim file, whichever its content says it is, gzipped or not.

    Args:
        drops: counts the lines that cannot be used; without it the first of them is an error.

    Raises:
        DataError: the file is missing, empty, damaged or of no such format, or a line is bad and nothing counts it.
    """
    return WordVectors(read_vector_file(path, drops=drops or Drops(strict=True)))


def _spellings(word: str) -> Iterator[str]:
    yield _POSSESSIVE.sub("", word)
    bare = _without_outer(word)
    yield bare
    yield (bare := _POSSESSIVE.sub("", bare))
    yield "".join(filter(str.isalnum, bare))


def _without_outer(word: str) -> str:
    """Return the word without what is neither letter nor digit at its ends; a pattern would take the square of it."""
    places = [place for place, character in enumerate(word) if character.isalnum()]
    return word[places[0] : places[-1] + 1] if places else ""
