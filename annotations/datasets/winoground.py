"""Reads Winoground's examples.jsonl: https://huggingface.co/datasets/facebook/winoground.

Its licence asks every user for consent, so nothing here ever downloads it; get the file and the images there.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from annotations.datasets.data_set import DataSet
from annotations.datasets.json_records import FieldError, Record, read_json_lines, take_id, take_text
from annotations.datasets.text_files import json_files
from annotations.guards.drops import Drops
from annotations.records import Answer, Sentence, SentenceImage

SOURCE = "winoground"
DETAILS = ("tag", "secondary_tag", "num_main_preds", "collapsed_tag")


class WinogroundRecord(TypedDict):
    """Two captions of the same words, and an image for each."""

    place: str
    """File and line, for messages."""
    example: Record


def read_example_records(path: Path, *, drops: Drops) -> Iterator[WinogroundRecord]:
    """Yield every line of examples.jsonl, given as itself or as its folder.

    Raises:
        DataError: no such file, or no line of it is an object.
    """
    for file in json_files(path, "*.jsonl"):
        seen: set[str] = set()
        for number, example in read_json_lines(file, drops=drops):
            place, example_id = f"{file}, line {number}", str(example.get("id"))
            if example_id in seen:
                drops.add("example: id is there twice", f"{place}: found {example_id!r}")
                continue
            seen.add(example_id)
            yield WinogroundRecord(place=place, example=example)


def to_sentences(record: WinogroundRecord, *, drops: Drops) -> Iterator[Sentence]:
    """Yield both captions, each about both images; the answer is the number of the image that it describes."""
    example = record["example"]
    try:
        example_id = take_id(example, "id")
        captions = [take_text(example, f"caption_{number}") for number in (0, 1)]
        images = tuple(SentenceImage(image_id=take_id(example, f"image_{number}")) for number in (0, 1))
    except FieldError as error:
        drops.add(f"example: {error.reason}", f"{record['place']}: found {error.found}")
        return
    details = {"id": example_id} | {name: example[name] for name in DETAILS if name in example}
    for number, caption in enumerate(captions):
        yield Sentence(
            sentence_id=f"{example_id}-{number}",
            images=images,
            text=caption,
            source=SOURCE,
            split="test",
            answers=(Answer(text=str(number)),),
            details=details,
        )


def sentence_ids(record: WinogroundRecord) -> tuple[str, ...]:
    """Return the ids of both captions."""
    return tuple(f"{record['example'].get('id')}-{number}" for number in (0, 1))


def evaluation_images(path: Path, *, drops: Drops) -> Iterator[SentenceImage]:
    """Yield all images: Winoground is for testing only."""
    for record in read_example_records(path, drops=drops):
        for sentence in to_sentences(record, drops=drops):
            yield from sentence.images


DATA_SET = DataSet(
    read_records=read_example_records,
    to_sentences=to_sentences,
    sentence_ids=sentence_ids,
    evaluation_images=evaluation_images,
    place="examples.jsonl, or its folder",
)
