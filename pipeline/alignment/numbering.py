"""Whose the numbers are among the ids of images to align with: said, told by the store or by sizes; else the run ends.

An image's number joins nothing until that is known: COCO's photograph 9 is not Visual Genome's.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from annotations.datasets.data_set import DataSet
from annotations.guards.drops import Drops
from annotations.image_ids import NUMBERED_BY, Ids, shown_ids
from annotations.records import SentenceImage
from pipeline.alignment.worker import MALFORMED
from stores.errors import StoreError
from stores.images.layouts import PictureLayouts
from stores.layouts import RegionLayouts
from stores.manifest import Manifest
from stores.numbering import NOTE, Numbering, join, noted_numbering, numbers_of

MAX_RECORDS = 4000
"""Records of each source that are looked through for numbers."""

MAX_COMPARED = 64
"""Images of each source whose sizes are compared."""

MIN_ALIKE = 3
"""Images that must have the size at which they were annotated, and to one that has not, `MOST_ALIKE` times as many."""

MOST_ALIKE = 8

BEFORE = Numbering(ids=frozenset(NUMBERED_BY) - {"coco"}, is_certain=False)
"""What stores of sentences had that do not know whose their numbers are: every equal number joined."""

Sources = Sequence[tuple[DataSet, Path]]


@dataclass(kw_only=True)
class _Claim:
    """What was seen of the images that one who numbers images has under numbers of the store."""

    num_alike: int = 0
    num_unlike: int = 0
    num_unsized: int = 0
    unlike: str = ""
    """The first of another size."""

    @property
    def is_proven(self) -> bool:
        return self.num_alike >= MIN_ALIKE and self.num_alike >= MOST_ALIKE * self.num_unlike

    def __str__(self) -> str:
        seen = f"{self.num_alike} images have the size at which they were annotated, {self.num_unlike} have not"
        return f"{seen}{f' ({self.unlike})' if self.unlike else ''}, of {self.num_unsized} it is not known"


@dataclass(kw_only=True)
class _Claims:
    """Who claims numbers of the store."""

    of: dict[Ids, _Claim] = field(default_factory=dict)
    seen: set[tuple[str, Ids]] = field(default_factory=set)

    def add(self, image: SentenceImage, number: str, ids: Ids, layouts: RegionLayouts | PictureLayouts) -> None:
        if (number, ids) in self.seen or (layout := layouts.get(number)) is None:
            return
        self.seen.add((number, ids))
        claim = self.of.setdefault(ids, _Claim())
        if not image.width:
            claim.num_unsized += 1
        elif (image.width, image.height) == (layout.width, layout.height):
            claim.num_alike += 1
        else:
            claim.num_unlike += 1
            claim.unlike = claim.unlike or (
                f"{number} is {layout.width} x {layout.height}, annotated at {image.width} x {image.height}"
            )


def settle_numbering(
    layouts: RegionLayouts | PictureLayouts, place: str, said: Ids | None, sources: Sources, existing: Manifest | None
) -> tuple[Numbering, dict[str, Any]]:
    """Return whose the numbers are, and the notes of a store of sentences that know it.

    Args:
        place: what the images are called in errors.
        said: what `--ids` says; None: nothing.
        existing: of a store of sentences that is continued, which keeps what it was begun with.

    Raises:
        StoreError: nobody tells, and a source has images of such numbers; or two tell otherwise.
    """
    if existing is not None and existing.shards:
        return _kept(existing, said), existing.notes
    noted = layouts.manifest.notes.get(NOTE) if isinstance(layouts, RegionLayouts) else None
    if said and noted and said != noted:
        raise StoreError(
            f"--ids is {said}, but {place} has numbers of {noted}; leave --ids out, or say it to the command that made "
            "the store: it changes nothing but that"
        )
    told = layouts.ids
    if said or told:
        return _noted(Numbering(ids=frozenset(each for each in (said or told,) if each)), "said" if said else "told")
    if not layouts.has_numbers:
        return _noted(Numbering(), "names")
    claims = _find_claims(layouts, sources)
    proven = frozenset(ids for ids, claim in claims.of.items() if claim.is_proven)
    if claims.of and not proven:
        found = "; ".join(f"of {ids}, {claim}" for ids, claim in claims.of.items())
        raise StoreError(
            f"{place}: images have numbers such as {min(number for number, _ in claims.seen)!r}, and nothing tells "
            f"whose. {found}. Say it: --ids {' | '.join(NUMBERED_BY)}"
        )
    return _noted(Numbering(ids=proven, by_size=bool(proven)), "sizes" if proven else "nobody")


def tell_numbering(notes: Mapping[str, Any]) -> str:
    """Return a line for people about whose the numbers are, by what a store of sentences notes."""
    note = notes.get(NOTE)
    if note is None:
        return "whose the numbers among its images' ids are is not known: equal ones were joined"
    if not note["numbers_of"]:
        return "no image was joined by a number of its own" if note["told_by"] == "nobody" else ""
    by = {"said": "as --ids says", "told": "as the images' store or their range tells", "sizes": "as their sizes tell"}
    return f"numbers among its images' ids are those of {shown_ids(note['numbers_of'])}, {by[note['told_by']]}"


def said_ids(notes: Mapping[str, Any]) -> Ids | None:
    """Return what `--ids` said when a store of sentences with these notes was begun; None: nothing."""
    note = notes.get(NOTE)
    said: Ids | None = note["numbers_of"][0] if note and note["told_by"] == "said" else None
    return said


def _kept(existing: Manifest, said: Ids | None) -> Numbering:
    kept = noted_numbering(existing.notes)
    if kept is None:
        return BEFORE
    if said and kept.ids != {said}:
        raise StoreError(
            f"--ids is {said}, but the store was begun with numbers of {shown_ids(kept.ids) or 'nobody'}; leave --ids "
            "out, or use a new --out"
        )
    return kept


def _noted(numbering: Numbering, told_by: str) -> tuple[Numbering, dict[str, Any]]:
    return numbering, {NOTE: {"numbers_of": sorted(numbering.ids), "told_by": told_by}}


def _find_claims(layouts: RegionLayouts | PictureLayouts, sources: Sources) -> _Claims:
    """Return who has images under numbers of the store that are there under no better name."""
    claims = _Claims()
    for data_set, path in sources:
        num_seen = len(claims.seen)
        for image in _first_images(data_set, path):
            if join(image, layouts, Numbering()) is None:
                for number, ids in numbers_of(image):
                    claims.add(image, number, ids, layouts)
            if len(claims.seen) >= num_seen + MAX_COMPARED:
                break
    return claims


def _first_images(data_set: DataSet, path: Path) -> Iterator[SentenceImage]:
    """Yield the images of a source's first records; what is wrong with one of them, the run itself will tell."""
    for record in islice(data_set.read_records(path, drops=Drops()), MAX_RECORDS):
        try:
            yield from dict.fromkeys(
                image for sentence in data_set.to_sentences(record, drops=Drops()) for image in sentence.images
            )
        except MALFORMED:
            continue
