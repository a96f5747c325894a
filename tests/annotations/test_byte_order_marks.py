"""A byte-order mark, which editors write before a text, is no part of the first word, id, name or column."""

import json

import pytest

from annotations.answers import read_answer_vocabulary
from annotations.datasets.catalog import DATA_SETS
from annotations.datasets.text_files import read_lines
from annotations.guards.drops import Drops
from annotations.splits import read_minival
from detectors.vocabulary import read_vocabulary
from pipeline.extraction.given_boxes import read_given_boxes
from stores.interchange.sizes import read_sizes
from training.detector.gold_images import read_split

MARK = b"\xef\xbb\xbf"
CSV = "pairID,Flickr30kID,hypothesis,gold_label\na,7,A man.,neutral\n"


def sentences_of(name):
    return lambda path: list(DATA_SETS[name].read_sentences(path, drops=Drops(strict=True)))


READERS = {
    "list.txt": ("9\n8\n", lambda path: list(read_lines(path))),
    "minival.tsv": ("9\t1\n8\t2\n", lambda path: list(read_minival(path))),
    "sizes.tsv": ("7\t500\t375\n", read_sizes),
    "boxes.json": ('{"7": [[0, 0, 1, 1]]}', lambda path: str(read_given_boxes(path).boxes_of)),
    "answers.json": ('["yes", "no"]', read_answer_vocabulary),
    "train.txt": ("VG_100K/7.jpg xml/7.xml\n", read_split),
    "objects_vocab.txt": ("dog\ncat\n", lambda path: read_vocabulary(path.parent)),
    "esnlive_dev.csv": (CSV, sentences_of("snli-ve")),
    "snli_ve_dev.jsonl": (
        json.dumps({"pairID": "a", "Flikr30kID": "7", "sentence2": "A man.", "gold_label": "neutral"}),
        sentences_of("snli-ve"),
    ),
    "captions_val2017.json": (
        json.dumps(
            {
                "images": [{"id": 9, "file_name": "9.jpg", "width": 9, "height": 9, "score": float("nan")}],
                "annotations": [{"id": 1, "image_id": 9, "caption": "NaN"}],
            }
        ),
        sentences_of("coco-captions"),
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_a_mark_changes_nothing(name, tmp_path):
    content, read = READERS[name]
    (tmp_path / name).write_bytes(content.encode())
    plain = read(tmp_path / name)
    (tmp_path / name).write_bytes(MARK + content.encode())
    assert read(tmp_path / name) == plain
    assert plain
