"""Which regions have a name, and how a word's similarity with two names is weighed where one of them is absent."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from annotations.alignment.sentences import ImageRegions

AbsentNames = Literal["other", "zero"]
"""Where a region lacks one of its two names: the other has its weight, or, as older versions had it, it is 0."""

_NO_CLASS = frozenset({"__background__", "n/a", "none", ""})
_NO_ATTRIBUTE = _NO_CLASS | {"background", "no attribute", "__no_attribute__"}
_NUMBERED = re.compile(r"(?:class|attribute) \d+")
"""What stands for the names of weights and files that come without."""


UNNAMED = ("regions", "regions_without_class", "regions_without_attribute", "regions_without_names")
"""What a shard of sentences counts of its images where some regions lack a name."""


def tell_unnamed(counts: Mapping[str, int]) -> str:
    """Return for people what was counted, under names of `UNNAMED`; empty where every region has both names."""
    regions, no_class, no_attribute, neither = (counts.get(name, 0) for name in UNNAMED)
    if not regions:
        return ""
    told = f"of {regions} regions {no_class} have no class name and {no_attribute} no attribute"
    if neither == regions:
        return f"{told}: none has a name, the semantic criterion is 0 everywhere"
    return f"{told}: the other name has their weight; {neither} have neither, and compare with no word"


class RegionNames:
    """A detector's names, of which some say that there is none.

    Axes: I images, R regions of an image.
    """

    def __init__(self, classes: Sequence[str], attributes: Sequence[str]) -> None:
        # One entry more, for the id -1.
        self._is_class = np.array([*(_is_name(name, row, _NO_CLASS) for row, name in enumerate(classes)), False])
        self._is_attribute = np.array([*(_is_name(name, 1, _NO_ATTRIBUTE) for name in attributes), False])

    def has_class(self, class_ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return bool, of the ids' shape; False for -1 and for names such as `none`."""
        return _looked_up(self._is_class, class_ids, "class")

    def has_attribute(self, attribute_ids: NDArray[np.int32]) -> NDArray[np.bool_]:
        """Return bool, of the ids' shape; likewise."""
        return _looked_up(self._is_attribute, attribute_ids, "attribute")

    def count(self, images: Iterable[ImageRegions]) -> dict[str, int]:
        """Return how many regions of the images lack which names, under names of `UNNAMED`; nothing if none does."""
        totals = np.zeros(len(UNNAMED), np.int64)
        for image in images:
            lacks_class, lacks_attribute = ~self.has_class(image.class_ids), ~self.has_attribute(image.attribute_ids)
            lacks = lacks_class, lacks_attribute, lacks_class & lacks_attribute
            totals += len(lacks_class), *(each.sum() for each in lacks)
        return dict(zip(UNNAMED, totals.tolist(), strict=True)) if totals[1:].any() else {}

    def weights(
        self, class_ids: NDArray[np.int32], attribute_ids: NDArray[np.int32], class_weight: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return float32 [I, R] twice: what class and attribute count; together 1, or 0 where both are absent."""
        classes = np.where(self.has_class(class_ids), class_weight, 0)
        attributes = np.where(self.has_attribute(attribute_ids), 1 - class_weight, 0)
        both = classes + attributes
        both[both == 0] = 1
        return (classes / both).astype(np.float32), (attributes / both).astype(np.float32)


def _is_name(name: str, row: int, absent: frozenset[str]) -> bool:
    lower = name.strip().lower()
    # Visual Genome has a class `background`; as the first of all classes it is none.
    return not (lower in absent or _NUMBERED.fullmatch(lower) or (row == 0 and lower == "background"))


def _looked_up(is_name: NDArray[np.bool_], ids: NDArray[np.int32], noun: str) -> NDArray[np.bool_]:
    """Return an entry for each id; raises ValueError where the vocabulary has none of that number."""
    last = int(ids.max(initial=-1))
    if last > len(is_name) - 2:
        raise ValueError(
            f"a region has {noun} id {last}, the vocabulary has {len(is_name) - 1} names; expected that of its detector"
        )
    found: NDArray[np.bool_] = is_name[ids]
    return found
