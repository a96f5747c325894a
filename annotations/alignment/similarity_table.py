"""How similar words are to a detector's class and attribute names: computed once a word, gathered from then on."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from annotations.alignment.region_names import AbsentNames, RegionNames
from annotations.vectors.lookup import Aliases, WordVectors

MAX_PHRASES = 32768
"""Rows before the table starts anew: 2000 names make them 260 MB."""


class SimilarityTable:
    """Rows of similarities, one a phrase, float32 [phrases, classes + attributes + 1]; the last column is 0."""

    def __init__(
        self,
        vectors: WordVectors,
        *,
        classes: Sequence[str],
        attributes: Sequence[str],
        aliases: Aliases = "first",
        absent_names: AbsentNames = "other",
        max_phrases: int = MAX_PHRASES,
    ) -> None:
        """Make an empty table; `max_phrases` is more than any one call of `semantic` has."""
        self.names = RegionNames(classes, attributes)
        self._aliases = aliases
        self._absent_names = absent_names
        self._vectors = vectors
        self._names = [*classes, *attributes]
        self._num_classes = len(classes)
        self._rows: dict[str, int] = {}
        # Memory is taken as rows are written: untouched zeros cost nothing.
        self._values: NDArray[np.float32] = np.zeros((max_phrases, len(self._names) + 1), np.float32)
        self._oov: NDArray[np.bool_] = np.zeros(max_phrases, np.bool_)

    def semantic(
        self,
        phrases: Sequence[str],
        image_rows: NDArray[np.int64],
        class_ids: NDArray[np.int32],
        attribute_ids: NDArray[np.int32],
        *,
        class_weight: float,
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return float32 [W, R], the weighted similarity of phrase w with the names of region r, and bool [W], OOV.

        Where a region has one name only, that has the whole weight; one without any is similar to nothing.

        Args:
            phrases: W words or phrases.
            image_rows: int64 [W]; which of the I images each is about.
            class_ids: int32 [I, R]; -1 where there is none.
            attribute_ids: int32 [I, R]; likewise.
        """
        rows = self._find(phrases)
        first = (rows * self._values.shape[1])[:, None]
        nothing = len(self._names)
        classes = np.where(class_ids < 0, nothing, class_ids)[image_rows]
        attributes = np.where(attribute_ids < 0, nothing, attribute_ids + self._num_classes)[image_rows]
        flat = self._values.reshape(-1)
        semantic = flat.take(first + classes)
        of_attributes = flat.take(first + attributes)
        weights, attribute_weights = self._weights(class_ids, attribute_ids, image_rows, class_weight)
        semantic *= weights
        semantic += attribute_weights * of_attributes
        return semantic, self._oov[rows]

    def _weights(
        self,
        class_ids: NDArray[np.int32],
        attribute_ids: NDArray[np.int32],
        image_rows: NDArray[np.int64],
        class_weight: float,
    ) -> tuple[float, float] | tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return what both names count: two numbers where every region has both, else float32 [W, R] twice."""
        has_both = self.names.has_class(class_ids) & self.names.has_attribute(attribute_ids)
        if self._absent_names == "zero" or has_both.all():
            return class_weight, 1 - class_weight
        of_classes, of_attributes = self.names.weights(class_ids, attribute_ids, class_weight)
        return of_classes[image_rows], of_attributes[image_rows]

    def _find(self, phrases: Sequence[str]) -> NDArray[np.int64]:
        """Return the rows of the phrases, having computed those that are new."""
        new = [phrase for phrase in dict.fromkeys(phrases) if phrase not in self._rows]
        if len(self._rows) + len(new) > len(self._values):
            self._rows.clear()
            new = list(dict.fromkeys(phrases))
        if new:
            self._add(new)
        return np.fromiter(map(self._rows.__getitem__, phrases), np.int64, len(phrases))

    def _add(self, phrases: Sequence[str]) -> None:
        first, last = len(self._rows), len(self._rows) + len(phrases)
        self._values[first:last, :-1], self._oov[first:last] = self._vectors.similarity(
            phrases, self._names, aliases=self._aliases
        )
        self._rows.update(zip(phrases, range(first, last), strict=True))
