"""Pairs the captions of each Flickr30k Entities image, and the phrases of two captions that name the same thing.

A sentence is what attention supervision is trained on (Samaran et al. 2021, section 3): two captions of one image, five
captions making ten pairs. Its text is the two captions, one a line; its pointers are the phrases of both. Details:

    second          where the second caption begins
    sentence_ids    of the captions, in `flickr30k-entities`
    phrase_pairs    [[i, j, label], ...]: pointers i of the first and j of the second caption that are paraphrases

Paraphrases are phrases of one chain with different words, so all other pairs of pointers whose `object_id` differs name
different things. The label is the pair's relation, a key of `vgp.TYPES`, where tables of VGP-Typology lie in the folder
and know the pair, else None. Captions paired with those of another image are a matter of training, not of these files.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import TypedDict

from annotations.datasets import flickr30k_entities
from annotations.datasets.data_set import DataSet
from annotations.datasets.flickr30k_entities import NOT_VISUAL, EntitiesRecord
from annotations.datasets.vgp import REVERSED, Pair, group_by_image, read_pairs
from annotations.guards.drops import Drops
from annotations.records import Sentence, SentenceImage

SOURCE = "vgp-entities"


class CaptionsRecord(TypedDict):
    """One image's captions, and what the tables say about their phrases."""

    entities: EntitiesRecord
    pairs: list[Pair]


def read_records(path: Path, *, drops: Drops) -> Iterator[CaptionsRecord]:
    """Yield every image as `flickr30k_entities` does, with the typed pairs of `*.csv` in the same folder.

    Raises:
        DataError: nothing there has this layout, or `drops` is strict.
    """
    folder = path if path.is_dir() else path.parent
    pairs_of = group_by_image(read_pairs(folder, drops=drops)) if any(folder.glob("*.csv")) else {}
    for entities in flickr30k_entities.read_records(path, drops=drops):
        yield CaptionsRecord(entities=entities, pairs=pairs_of.get(entities["image_id"], []))


def to_sentences(record: CaptionsRecord, *, drops: Drops) -> Iterator[Sentence]:
    """Yield each two captions of the image as one sentence, in the order of their numbers."""
    labels = {pair["phrases"]: pair["label"] for pair in record["pairs"]}
    for pair in record["pairs"]:
        labels.setdefault(pair["phrases"][::-1], REVERSED.get(pair["label"], pair["label"]))
    captions = flickr30k_entities.to_sentences(record["entities"], drops=drops)
    for first, second in combinations(captions, 2):
        yield _join(first, second, labels)


def sentence_ids(record: CaptionsRecord) -> Iterator[str]:
    """Yield the ids of every two captions."""
    captions = flickr30k_entities.sentence_ids(record["entities"])
    yield from (f"{first}-{second.rpartition('#')[2]}" for first, second in combinations(captions, 2))


def evaluation_images(path: Path, *, drops: Drops) -> Iterator[SentenceImage]:
    """Yield the images of val.txt and test.txt; sizes are not read."""
    yield from flickr30k_entities.evaluation_images(path, drops=drops)


def _join(first: Sentence, second: Sentence, labels: Mapping[tuple[str, str], str]) -> Sentence:
    begin = len(first.text) + 1
    number = second.sentence_id.rpartition("#")[2]
    moved = (replace(pointer, start=pointer.start + begin, end=pointer.end + begin) for pointer in second.pointers)
    return replace(
        first,
        sentence_id=f"{first.sentence_id}-{number}",
        text=f"{first.text}\n{second.text}",
        source=SOURCE,
        pointers=(*first.pointers, *moved),
        details={
            "second": begin,
            "sentence_ids": [first.sentence_id, second.sentence_id],
            "phrase_pairs": _paraphrases(first, second, labels),
        },
    )


def _paraphrases(
    first: Sentence, second: Sentence, labels: Mapping[tuple[str, str], str]
) -> list[list[int | str | None]]:
    """Return numbers of pointers of one chain whose words differ, and their label; each two phrases once."""
    found: dict[tuple[str, str, str], list[int | str | None]] = {}
    for i, one in enumerate(first.pointers):
        for j, other in enumerate(second.pointers, start=len(first.pointers)):
            words = first.text[one.start : one.end], second.text[other.start : other.end]
            if one.object_id == other.object_id != NOT_VISUAL and words[0].lower() != words[1].lower():
                found.setdefault((one.object_id, *words), [i, j, labels.get(words)])
    return list(found.values())


DATA_SET = DataSet(
    read_records=read_records,
    to_sentences=to_sentences,
    sentence_ids=sentence_ids,
    evaluation_images=evaluation_images,
    ids="flickr30k",
    place="as flickr30k-entities; tables of VGP-Typology in the same folder add relations",
    beside=(*flickr30k_entities.LISTS, "*.csv"),
    sentences_per_record=10,
)
