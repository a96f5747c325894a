"""Who numbers the images of a store, and under which of its ids it may have the image that a sentence is about.

Names tell whose they are, numbers do not (`annotations/image_ids.py`). Of a store's numbers a person has said it, or
their range tells, or the sizes of its images beside those in annotations.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from annotations.alignment.sentences import ImageRegions
from annotations.image_ids import NUMBER, NUMBERED_BY, Ids, is_number, photograph_name
from annotations.records import SentenceImage

JoinRule = Literal["id", "size", "number", "coco_number", "coco_id"]
"""By its own id; by a number and the image's size; by a number alone, as older versions did; by COCO's number under
another name; by Visual Genome's coco_id."""

JOIN_RULES: dict[JoinRule, str] = {
    "id": "joined by id",
    "size": "joined by number where sizes agree",
    "number": "joined by an equal number, of which nobody said whose it is",
    "coco_number": "joined by COCO's number",
    "coco_id": "joined by Visual Genome's coco_id",
}
"""Each with how it is told."""


def joined_by(rule: JoinRule) -> str:
    """Return how a manifest's counts call the rule."""
    return f"joined_by_{rule}"


RESIZED = "joined_resized"
"""Under which they have images of another size than where they were annotated."""

NOTE = "ids"
"""Under which a manifest's notes have it."""

_COCO_NAMES = (
    *("COCO_train2014_{:012d}", "COCO_val2014_{:012d}", "COCO_test2015_{:012d}", "COCO_test2014_{:012d}"),
    "{:012d}",
)

_VISUAL_GENOMES = "2(31[5-9]|3[2-9][0-9]|40[0-9]|41[0-7])[0-9]{3}"
"""2315000 to 2417999, where nineteen of twenty numbers of Visual Genome's are and nobody else's."""

_FLICKRS = "[1-9][0-9]{7,10}"
"""Flickr's numbers of photographs; of Flickr30k, 99 of 100 have so many digits."""

_MOST = 0.9
"""Share of the numbers that must be in the range of one who gives them."""


@dataclass(frozen=True, kw_only=True)
class Numbering:
    """Whose numbers a store's are."""

    ids: frozenset[Ids] = frozenset()
    """Several where several data sets describe the same images; none where nobody tells, or no id is a number."""
    by_size: bool = False
    """Told by sizes, so that an image of another size is another image."""
    is_certain: bool = True
    """False of what older versions began, to which every equal number was one."""

    @property
    def is_own(self) -> bool:
        """Whether images and annotations are somebody's own, so that ids mean what they say and nothing else."""
        return self.ids == {"own"} and not self.by_size

    @property
    def shared(self) -> frozenset[Ids]:
        """Return whose numbers mean the same images, for `annotations.splits`."""
        return frozenset(NUMBERED_BY) if self.is_own else self.ids


@dataclass(frozen=True, kw_only=True, slots=True)
class Joined:
    """An image that was found, and the rule by which it is the one that was looked for."""

    layout: ImageRegions
    rule: JoinRule


class Layouts(Protocol):
    """What there is of a store's images, or of files, without features or pixels."""

    def get(self, image_id: str) -> ImageRegions | None:
        """Return the image of this very id."""
        ...

    def __contains__(self, image_id: str) -> bool: ...


def join(image: SentenceImage, layouts: Layouts, numbering: Numbering) -> Joined | None:
    """Return the image as the store has it; None where it does not, or where nobody knows that it is the same."""
    for image_id, rule in possible_ids(image, numbering):
        if (layout := layouts.get(image_id)) is not None:
            return Joined(layout=layout, rule=rule)
    return None


def possible_ids(image: SentenceImage, numbering: Numbering) -> Iterator[tuple[str, JoinRule]]:
    """Yield the ids under which a store of that numbering may have the image, and by which rule it is that image."""
    if numbering.is_own or not is_number(image.image_id):
        yield image.image_id, "id"
    elif image.ids in numbering.ids:
        yield image.image_id, "size" if numbering.by_size else "id" if numbering.is_certain else "number"
    if image.coco_id.isdecimal() and not numbering.is_own:
        rule: JoinRule = "coco_id" if image.ids == "visual-genome" else "coco_number"
        yield from ((name.format(int(image.coco_id)), rule) for name in _COCO_NAMES)
        if "coco" in numbering.ids:
            yield str(int(image.coco_id)), rule


def noted_numbering(notes: Mapping[str, Any]) -> Numbering | None:
    """Return whose the numbers are by which a store's sentences found their images; None of stores that do not know."""
    note = notes.get(NOTE)
    return Numbering(ids=frozenset(note["numbers_of"]), by_size=note["told_by"] == "sizes") if note else None


class ImageRows:
    """Where images stand in a sequence, by the ids that other images' sentences have.

    An id is the same image's, unless it is a number of somebody else's; another name of the photograph is, too.
    """

    def __init__(self, image_ids: Iterable[str], ids: Ids | None, asked: Collection[Ids]) -> None:
        """`ids` is whose the images' numbers are, `asked` whose those that will be asked for; None, none: not known."""
        self._rows = {image_id: row for row, image_id in enumerate(image_ids)}
        self._ids, self._asked = ids, asked
        self._is_other = bool(ids and asked and ids not in asked)
        self._named: dict[str, int] | None = None

    @property
    def is_known(self) -> bool:
        """Whether it is known of both sides whose their numbers are."""
        return bool(self._ids and self._asked)

    def get(self, image_id: str) -> int:
        """Return the image's place; -1 where it has none."""
        row = None if self._is_other and is_number(image_id) else self._rows.get(image_id)
        return self._by_name(image_id) if row is None else row

    def _by_name(self, image_id: str) -> int:
        if self._named is None:
            named = ((photograph_name(each, self._ids or "own"), each, row) for each, row in self._rows.items())
            self._named = {name: row for name, each, row in named if name != each}
        asked: Ids = next(iter(self._asked)) if len(self._asked) == 1 else "own"
        return self._named.get(photograph_name(image_id, asked), -1)


def numbers_of(image: SentenceImage) -> Iterator[tuple[str, Ids]]:
    """Yield the numbers by which the image is known, and whose each is."""
    if is_number(image.image_id):
        yield image.image_id, image.ids
    if image.coco_id.isdecimal() and image.ids == "coco":
        yield str(int(image.coco_id)), "coco"


def known_ids(notes: Mapping[str, Any], image_ids: pa.Array | pa.ChunkedArray) -> Ids | None:
    """Return whose the numbers are among the ids of a store's images, as its notes say it or their range tells."""
    noted: Ids | None = notes.get(NOTE)
    return noted or ids_in_range(image_ids)


def note_of(notes: Mapping[str, Any], image_ids: pa.Array | pa.ChunkedArray, said: Ids | None) -> dict[str, Any]:
    """Return the notes of a store of these images with whose their numbers are, if somebody says, said or tells it."""
    found = said or known_ids(notes, image_ids)
    return {**notes, NOTE: found} if found else dict(notes)


def remarks_on(notes: Mapping[str, Any], image_ids: pa.Array | pa.ChunkedArray) -> tuple[str, ...]:
    """Return what people should know of whose the ids of a store's images are, a clause each."""
    if not has_numbers(image_ids):
        return ()
    found = notes.get(NOTE)
    return (f"numbers as ids are {found}'s" if found else "whose the numbers as ids are is not known, see --ids",)


def has_numbers(image_ids: pa.Array | pa.ChunkedArray) -> bool:
    """Return whether some ids do not tell whose they are."""
    return _count(image_ids, NUMBER) > 0


def ids_in_range(image_ids: pa.Array | pa.ChunkedArray) -> Ids | None:
    """Return whose the numbers among the ids are, where nearly all of them are in a range that one alone has."""
    num_numbers, num_long = _count(image_ids, NUMBER), _count(image_ids, _FLICKRS)
    if num_numbers and _count(image_ids, _VISUAL_GENOMES) >= _MOST * num_numbers:
        return "visual-genome"
    return "flickr30k" if num_long and num_long >= _MOST * (num_numbers + num_long) else None


def _count(image_ids: pa.Array | pa.ChunkedArray, pattern: str) -> int:
    return int(pc.sum(pc.match_substring_regex(image_ids, f"^(?:{pattern})$")).as_py() or 0)
