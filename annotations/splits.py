"""No photograph that is evaluated somewhere is trained on elsewhere, whatever name another data set gives it."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from annotations.datasets.text_files import read_lines
from annotations.image_ids import NUMBERED_BY, Ids, is_number, photograph_name
from annotations.records import Sentence, SentenceImage, Split

MINIVAL_ROWS = 5000
"""LXMERT's minival is the first so many images of its val2014 feature file."""

_VAL2014 = "COCO_val2014_"


@dataclass(frozen=True, kw_only=True)
class SplitRules:
    """Which split each sentence belongs to, once all data sets are looked at together."""

    evaluated: frozenset[str] = frozenset()
    """Names, by `names_of`, of the photographs of validation and test splits, minival and the user's lists."""
    minival: frozenset[str] | None = None
    """Photographs of COCO val2014 that stay for validation, its others being for training; None: all stay."""
    shared: frozenset[Ids] = frozenset()
    """Whose numbers are numbers of the same images, see `make_split_rules`."""

    def split_of(self, sentence: Sentence) -> Split | None:
        """Return the sentence's split; None if it would be trained on and one of its photographs is evaluated."""
        split = sentence.split
        if self.minival is not None and split == "val" and all(map(_is_val2014, sentence.images)):
            is_kept = any(photograph(image) in self.minival for image in sentence.images)
            split = "val" if is_kept else "train"
        if (
            split == "train"
            and self.evaluated
            and any(not self.evaluated.isdisjoint(names_of(image, self.shared)) for image in sentence.images)
        ):
            return None
        return split


def make_split_rules(
    evaluation_images: Iterable[SentenceImage],
    *,
    held_out: Iterable[str] = (),
    minival: Iterable[str] | None = None,
    photographs: Iterable[SentenceImage] = (),
    shared: Collection[Ids] = (),
    listed: Collection[Ids] = (),
) -> SplitRules:
    """Return the rules that keep training clear of the images.

    Args:
        evaluation_images: those of all data sets' validation and test splits.
        held_out: further image ids, or `visual-genome 9` for a number and whose it is.
        minival: image ids of COCO val2014 that stay for validation; None: all of them do.
        photographs: images of which a source knows COCO's number as well: they tie the name under which one data set
            evaluates to the name under which another trains, though neither knows both.
        shared: whose numbers are numbers of the same images: an image of Visual Genome's called 9 is then that of any
            other of them.
        listed: who numbers images in `held_out`, where a line says only a number; none: whoever made them.
    """
    kept = None if minival is None else frozenset(photograph_name(image_id, "coco") for image_id in minival)
    evaluated = {
        name
        for image in evaluation_images
        if kept is None or not _is_val2014(image) or photograph(image) in kept
        for name in names_of(image, shared)
    }
    evaluated.update(kept or (), (name for line in held_out for name in _listed_names(line, shared, listed)))
    for image in photographs:
        if not evaluated.isdisjoint(names := names_of(image, shared)):
            evaluated.update(names)
    return SplitRules(evaluated=frozenset(evaluated), minival=kept, shared=frozenset(shared))


def photograph(image: SentenceImage) -> str:
    """Return what all names of one photograph have in common: `coco 9`, or the image id where COCO has none.

    `COCO_train2014_000000000009`, `000000000009` and Visual Genome's image with coco_id 9 are one photograph.
    """
    return f"coco {image.coco_id}" if image.coco_id else photograph_name(image.image_id, image.ids)


def names_of(image: SentenceImage, shared: Collection[Ids] = ()) -> tuple[str, ...]:
    """Return `photograph` and, before it, what a source that knows nothing of COCO would call the photograph.

    GQA has Visual Genome's images under Visual Genome's ids, without COCO's numbers; so may a user's list. A number of
    one who shares it with others (`make_split_rules`) stands there too.
    """
    names = photograph_name(image.image_id, image.ids), photograph(image)
    return (image.image_id, *names) if image.ids in shared and is_number(image.image_id) else names


def numbers_in(held_out: Iterable[str]) -> Iterator[str]:
    """Yield the lines of a list that are numbers, of which only whoever wrote them knows whose they are."""
    return filter(is_number, held_out)


def read_minival(path: Path) -> Iterator[str]:
    """Yield the image ids of a list, or of LXMERT's val2014 feature file: the first column of its first 5000 rows."""
    rows = (line.partition("\t") for line in read_lines(path))
    yield from (image_id for image_id, _, _ in (islice(rows, MINIVAL_ROWS) if _has_columns(path) else rows))


def _listed_names(line: str, shared: Collection[Ids], listed: Collection[Ids]) -> tuple[str, ...]:
    """Return the names of the photographs that one line of a list may mean."""
    said, _, number = line.partition(" ")
    whose = [ids for ids in NUMBERED_BY if ids == said and is_number(number)]
    if whose:
        line = number
    elif is_number(line):
        whose = list(listed)
    images = [SentenceImage(image_id=line, ids=ids) for ids in whose] or [SentenceImage(image_id=line)]
    return tuple(name for image in images for name in names_of(image, shared))


def _has_columns(path: Path) -> bool:
    return any("\t" in line for line in islice(read_lines(path), 1))


def _is_val2014(image: SentenceImage) -> bool:
    return image.image_id.startswith(_VAL2014)
