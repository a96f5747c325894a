"""No photograph that is evaluated somewhere is trained on elsewhere, whatever name another data set gives it."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from annotations.datasets.text_files import read_lines
from annotations.records import Sentence, SentenceImage, Split

MINIVAL_ROWS = 5000
"""LXMERT's minival is the first so many images of its val2014 feature file."""

_COCO_NAME = re.compile(r"(?:COCO_(?:train|val|test)20\d\d_)?0*(\d{1,12})")
_COCO_DIGITS = 12
_VAL2014 = "COCO_val2014_"


@dataclass(frozen=True, kw_only=True)
class SplitRules:
    """Which split each sentence belongs to, once all data sets are looked at together."""

    evaluated: frozenset[str] = frozenset()
    """Names, by `names_of`, of the photographs of validation and test splits, minival and the user's lists."""
    minival: frozenset[str] | None = None
    """Photographs of COCO val2014 that stay for validation, its others being for training; None: all stay."""

    def split_of(self, sentence: Sentence) -> Split | None:
        """Return the sentence's split; None if it would be trained on and one of its photographs is evaluated."""
        split = sentence.split
        if self.minival is not None and split == "val" and all(map(_is_val2014, sentence.images)):
            is_kept = any(photograph(image) in self.minival for image in sentence.images)
            split = "val" if is_kept else "train"
        if (
            split == "train"
            and self.evaluated
            and any(not self.evaluated.isdisjoint(names_of(image)) for image in sentence.images)
        ):
            return None
        return split


def make_split_rules(
    evaluation_images: Iterable[SentenceImage],
    *,
    held_out: Iterable[str] = (),
    minival: Iterable[str] | None = None,
    photographs: Iterable[SentenceImage] = (),
) -> SplitRules:
    """Return the rules that keep training clear of the images.

    Args:
        evaluation_images: those of all data sets' validation and test splits.
        held_out: further image ids.
        minival: image ids of COCO val2014 that stay for validation; None: all of them do.
        photographs: images of which a source knows COCO's number as well: they tie the name under which one data set
            evaluates to the name under which another trains, though neither knows both.
    """
    kept = None if minival is None else frozenset(map(_named, minival))
    evaluated = {
        name
        for image in evaluation_images
        if kept is None or not _is_val2014(image) or photograph(image) in kept
        for name in names_of(image)
    }
    evaluated.update(kept or (), map(_named, held_out))
    for image in photographs:
        if not evaluated.isdisjoint(names := names_of(image)):
            evaluated.update(names)
    return SplitRules(evaluated=frozenset(evaluated), minival=kept)


def photograph(image: SentenceImage) -> str:
    """Return what all names of one photograph have in common: `coco 9`, or the image id where COCO has none.

    `COCO_train2014_000000000009`, `000000000009` and Visual Genome's image with coco_id 9 are one photograph.
    """
    return f"coco {image.coco_id}" if image.coco_id else _named(image.image_id)


def names_of(image: SentenceImage) -> tuple[str, ...]:
    """Return `photograph` and, before it, what a source that knows nothing of COCO would call the photograph.

    GQA has Visual Genome's images under Visual Genome's ids, without COCO's numbers; so may a user's list.
    """
    return _named(image.image_id), photograph(image)


def read_minival(path: Path) -> Iterator[str]:
    """Yield the image ids of a list, or of LXMERT's val2014 feature file: the first column of its first 5000 rows."""
    rows = (line.partition("\t") for line in read_lines(path))
    yield from (image_id for image_id, _, _ in (islice(rows, MINIVAL_ROWS) if _has_columns(path) else rows))


def _named(image_id: str) -> str:
    name = _COCO_NAME.fullmatch(image_id)
    is_coco = name is not None and (image_id.startswith("COCO_") or len(image_id) == _COCO_DIGITS)
    return f"coco {int(name[1])}" if name is not None and is_coco else image_id


def _has_columns(path: Path) -> bool:
    return any("\t" in line for line in islice(read_lines(path), 1))


def _is_val2014(image: SentenceImage) -> bool:
    return image.image_id.startswith(_VAL2014)
