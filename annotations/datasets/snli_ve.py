"""Reads SNLI-VE, https://github.com/necla-ml/SNLI-VE, and e-SNLI-VE, https://github.com/maximek3/e-ViL.

FOLDER/snli_ve_{train,dev,test}.jsonl    one JSON object a line; the image is `Flikr30kID` or `Flickr30K_ID`
FOLDER/esnlive_{train,dev,test}.csv      with explanations

A field `split` of a line goes before the word in the file's name.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from annotations.datasets.data_set import DataSet
from annotations.datasets.json_records import FieldError, Record, read_json_lines, take_id, take_text
from annotations.datasets.text_files import json_files, split_in_name
from annotations.guards.drops import DataError, Drops
from annotations.guards.shown import shown
from annotations.records import Answer, Sentence, SentenceImage, Split

SOURCE = "snli-ve"
LABELS = ("entailment", "neutral", "contradiction")
COLUMNS = ("pairID", "Flickr30kID", "hypothesis", "gold_label")
IMAGE_FIELDS = ("Flikr30kID", "Flickr30K_ID", "Flickr30kID")
"""As the released files, today's generator and e-SNLI-VE spell it."""


class SnliVeRecord(TypedDict):
    """One hypothesis about an image."""

    place: str
    """File and line, for messages."""
    split: Split
    pair: Record


def read_pair_records(path: Path, *, drops: Drops) -> Iterator[SnliVeRecord]:
    """Yield every pair of a .jsonl or .csv file, or of a folder's .jsonl files, or failing those its .csv files.

    Raises:
        DataError: no such file, or not one of these layouts.
    """
    for file in json_files(path, "*.jsonl", "*.csv"):
        seen: set[str] = set()
        lines = _csv_lines(file, drops) if file.suffix == ".csv" else read_json_lines(file, drops=drops)
        for number, pair in lines:
            place, pair_id = f"{file}, line {number}", str(pair.get("pairID"))
            if pair_id in seen:
                drops.add("pair: pairID is there twice", f"{place}: found {pair_id!r}")
                continue
            seen.add(pair_id)
            split = split_in_name(str(pair.get("split") or file.stem), place=place)
            yield SnliVeRecord(place=place, split=split, pair=pair)


def to_sentences(record: SnliVeRecord, *, drops: Drops) -> Iterator[Sentence]:
    """Yield the hypothesis; the answer is `entailment`, `neutral` or `contradiction`."""
    pair = record["pair"]
    try:
        image_field = next((name for name in IMAGE_FIELDS if name in pair), IMAGE_FIELDS[0])
        image_id = take_id(pair, image_field).removesuffix(".jpg")
        pair_id, label = take_id(pair, "pairID"), take_text(pair, "gold_label")
        text = take_text(pair, "sentence2" if "sentence2" in pair else "hypothesis")
        if label not in LABELS:  # `-` where annotators did not agree
            raise FieldError(f"gold_label is not {', '.join(LABELS)}", shown(label))
    except FieldError as error:
        drops.add(f"pair: {error.reason}", f"{record['place']}: found {error.found}")
        return
    names = {"sentence1": "premise", "captionID": "caption_id", "explanation": "explanation"}
    yield Sentence(
        sentence_id=pair_id,
        images=(SentenceImage(image_id=image_id, ids="flickr30k"),),
        text=text,
        source=SOURCE,
        split=record["split"],
        answers=(Answer(text=label),),
        details={"pair_id": pair_id} | {ours: pair[theirs] for theirs, ours in names.items() if theirs in pair},
    )


def sentence_ids(record: SnliVeRecord) -> tuple[str, ...]:
    """Return the id of the record's hypothesis."""
    return (str(record["pair"].get("pairID")),)


def evaluation_images(path: Path, *, drops: Drops) -> Iterator[SentenceImage]:
    """Yield the images of dev and test pairs; an image as often as it has pairs."""
    for record in read_pair_records(path, drops=drops):
        if record["split"] != "train":
            for sentence in to_sentences(record, drops=drops):
                yield from sentence.images


def _csv_lines(file: Path, drops: Drops) -> Iterator[tuple[int, Record]]:
    """Yield line number and fields of every row."""
    if not file.is_file():
        raise DataError(f"{file}: no such file, expected a table with {', '.join(COLUMNS)}")
    with file.open("rb") as binary:
        rows = csv.DictReader(io.TextIOWrapper(binary, encoding="utf-8-sig", newline=""))
        try:
            if not set(COLUMNS) <= set(rows.fieldnames or ()):
                raise DataError(f"{file}: columns are {rows.fieldnames}, expected {', '.join(COLUMNS)} among them")
            for row in rows:
                if None in row or None in row.values():
                    drops.add("line: too many or too few columns", f"{file}, line {rows.line_num}")
                    continue
                yield rows.line_num, row
        except (csv.Error, UnicodeDecodeError) as error:
            raise DataError(f"{file}, line {rows.line_num}: not a table in UTF-8 ({error}); fetch it again") from error


DATA_SET = DataSet(
    read_records=read_pair_records,
    to_sentences=to_sentences,
    sentence_ids=sentence_ids,
    evaluation_images=evaluation_images,
    ids="flickr30k",
    place="a .jsonl file of SNLI-VE, a .csv file of e-SNLI-VE, or a folder of either",
)
