"""Reads visually grounded paraphrases, typed: the CSV files of VGP-Typology.

Each row has two phrases that name one thing of a Flickr30k image in different captions, and how they relate:

    image,phrase1,phrase2,original_phrase1,original_phrase2,original_label,type_label
    36979,cards,green table,cards,a green table,Alternation,0

FOLDER/*.csv                        one file or more; `train`, `val` or `test` in its name, or a column `vgp_split`
FOLDER/Sentences/, Annotations/     optional: Flickr30k Entities, where the phrases have their boxes

A row becomes a sentence with the first phrase as its text; the second is `other` in the details, the relation is the
answer. Pairs of whole captions, which attention supervision trains on, are `vgp_entities`.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from annotations.datasets import flickr30k_entities
from annotations.datasets.data_set import DataSet
from annotations.datasets.flickr30k_entities import NOT_VISUAL, EntitiesRecord
from annotations.datasets.text_files import split_in_name
from annotations.guards.drops import DataError, Drops
from annotations.records import Answer, Pointer, Sentence, SentenceImage, Split

SOURCE = "vgp"

TYPES = {"Alternation": 0, "Entailment1": 1, "Entailment2": 2, "Equivalence": 3, "Independence": 4}
"""Relations and their numbers; in Entailment1 the first phrase entails the second."""

REVERSED = {"Entailment1": "Entailment2", "Entailment2": "Entailment1"}
"""What a relation becomes when the phrases change places; the others stay."""

_COLUMNS = ("image", "original_phrase1", "original_phrase2", "original_label", "type_label")


class Pair(TypedDict):
    """One row."""

    pair_id: str
    place: str
    """File and line, for messages."""
    image_id: str
    split: Split
    phrases: tuple[str, str]
    label: str


class PairsRecord(TypedDict):
    """One image's pairs, and its captions where there are any."""

    pairs: list[Pair]
    entities: EntitiesRecord | None


def read_records(path: Path, *, drops: Drops) -> Iterator[PairsRecord]:
    """Yield the pairs of each image: those that Entities knows in its order, then the others as the tables have them.

    Raises:
        DataError: there is no table, or it is not whole, or `drops` is strict.
    """
    pairs_of = group_by_image(read_pairs(path, drops=drops))
    folder = path if path.is_dir() else path.parent
    if (folder / "Sentences").is_dir():
        for entities in flickr30k_entities.read_captions(folder, drops=drops):
            if pairs := pairs_of.pop(entities["image_id"], []):
                yield PairsRecord(pairs=pairs, entities=entities)
    for pairs in pairs_of.values():
        yield PairsRecord(pairs=pairs, entities=None)


def to_sentences(record: PairsRecord, *, drops: Drops) -> Iterator[Sentence]:
    """Yield a sentence for each pair; its whole text points at the boxes of what both phrases name, where known."""
    captions = list(flickr30k_entities.to_sentences(record["entities"], drops=drops)) if record["entities"] else []
    for pair in record["pairs"]:
        text, other = pair["phrases"]
        pointers: tuple[Pointer, ...] = ()
        if captions:
            pointers = _pointed(text, other, captions)
            if not pointers:
                where = f"{pair['place']}: found {text!r} and {other!r} of image {pair['image_id']}"
                drops.add("pair: captions do not have both phrases for one thing", where)
        yield Sentence(
            sentence_id=pair["pair_id"],
            images=captions[0].images if captions else (SentenceImage(image_id=pair["image_id"], ids="flickr30k"),),
            text=text,
            source=SOURCE,
            split=pair["split"],
            pointers=pointers,
            answers=(Answer(text=pair["label"]),),
            details={"other": other, "label": pair["label"], "type": TYPES[pair["label"]]},
        )


def sentence_ids(record: PairsRecord) -> Iterator[str]:
    """Yield the ids of the record's pairs."""
    yield from (pair["pair_id"] for pair in record["pairs"])


def evaluation_images(path: Path, *, drops: Drops) -> Iterator[SentenceImage]:
    """Yield the images of pairs for validation and test, and of those splits of Entities if it is there."""
    pairs = (pair for pair in read_pairs(path, drops=drops) if pair["split"] != "train")
    yield from (SentenceImage(image_id=image_id, ids="flickr30k") for image_id in group_by_image(pairs))
    yield from flickr30k_entities.evaluation_images(path, drops=drops)


def read_pairs(path: Path, *, drops: Drops) -> Iterator[Pair]:
    """Yield every row of a CSV file, or of all in a folder.

    Raises:
        DataError: there is no such file, or it is no CSV of these columns.
    """
    tables = sorted(path.glob("*.csv")) if path.is_dir() else [path]
    if not tables:
        raise DataError(f"{path}: no *.csv in it, expected the tables of VGP-Typology; check the path")
    seen: set[tuple[str, ...]] = set()
    for table in tables:
        try:
            with table.open(encoding="utf-8-sig", newline="") as file:
                yield from _read_table(file, table, seen, drops)
        except OSError as error:
            raise DataError(f"{table}: cannot be read ({error.strerror}), expected a table of VGP-Typology") from error
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{table}: no whole CSV file in UTF-8 ({error}); fetch it again") from error


def group_by_image(pairs: Iterator[Pair]) -> dict[str, list[Pair]]:
    """Return the pairs by image id, in the order they come; tables hold tens of thousands."""
    grouped: dict[str, list[Pair]] = {}
    for pair in pairs:
        grouped.setdefault(pair["image_id"], []).append(pair)
    return grouped


def _read_table(file: Iterator[str], table: Path, seen: set[tuple[str, ...]], drops: Drops) -> Iterator[Pair]:
    rows = csv.DictReader(file, strict=True)
    missing = [column for column in _COLUMNS if column not in (rows.fieldnames or ())]
    if missing:
        raise DataError(
            f"{table}: no column {', '.join(missing)}, found {', '.join(rows.fieldnames or ['nothing'])}; expected a "
            "table of VGP-Typology"
        )
    for row in rows:
        where = f"{table}, line {rows.line_num}"
        image_id, text, other, label, number = ((row[column] or "").strip() for column in _COLUMNS)
        phrases = text.replace("\\'", "'"), other.replace("\\'", "'")  # the tables escape apostrophes
        if not (image_id and all(phrases)):
            drops.add("pair: a field is empty", f"{where}: found {row}")
        elif str(TYPES.get(label)) != number:
            drops.add("pair: label and type do not agree", f"{where}: found {label!r} and {number!r}")
        elif (image_id, *phrases) in seen:
            drops.add("pair: repeated", f"{where}: found {phrases} of image {image_id} again")
        else:
            seen.add((image_id, *phrases))
            split = split_in_name(row.get("vgp_split") or table.stem, place=where)
            pair_id = f"{table.stem}#{rows.line_num}"
            yield Pair(pair_id=pair_id, place=where, image_id=image_id, split=split, phrases=phrases, label=label)


def _pointed(text: str, other: str, captions: list[Sentence]) -> tuple[Pointer, ...]:
    """Return the one pointer of the whole text, to what the captions mean by both phrases, or none."""
    named = {
        (caption.text[pointer.start : pointer.end], pointer.object_id)
        for caption in captions
        for pointer in caption.pointers
    }
    for caption in captions:
        for pointer in caption.pointers:
            words = caption.text[pointer.start : pointer.end]
            if words == text and pointer.object_id != NOT_VISUAL and (other, pointer.object_id) in named:
                return (
                    Pointer(
                        start=0,
                        end=len(text),
                        boxes_xyxy=pointer.boxes_xyxy,
                        object_id=pointer.object_id,
                        category=pointer.category,
                    ),
                )
    return ()


DATA_SET = DataSet(
    read_records=read_records,
    to_sentences=to_sentences,
    sentence_ids=sentence_ids,
    evaluation_images=evaluation_images,
    ids="flickr30k",
    place="a CSV file of VGP-Typology or a folder of them, with Sentences/ and Annotations/ beside it for boxes",
    beside=(*flickr30k_entities.LISTS, "Sentences/*.txt", "Annotations/*.xml"),
)
