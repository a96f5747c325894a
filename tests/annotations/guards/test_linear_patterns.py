"""Texts of 200,000 characters that a careless pattern looks through once for each of them."""

import time

import numpy as np
import pytest

from annotations.alignment.words import find_words
from annotations.datasets.flickr30k_entities import _read_caption
from annotations.guards.drops import Drops
from annotations.merging import merge_descriptions
from annotations.records import Sentence, SentenceImage
from annotations.vectors.files import VectorTable
from annotations.vectors.lookup import WordVectors

LENGTH = 200_000


def merged(text):
    image = SentenceImage(image_id="1", width=9, height=9)
    sentence = Sentence(
        sentence_id="1", images=(image,), text=text, source="s", split="train", details={"kind": "region"}
    )
    return [each.text for each in merge_descriptions([sentence], seed=0, drops=Drops())]


def has_vector(text):
    table = VectorTable(rows={"a": 0}, vectors=np.ones((1, 1), np.float32))
    return WordVectors(table).phrase_vector(text) is not None


def caption(text):
    return _read_caption(text, {"1": ()}, "here", Drops())[0]


DOTS, SPACES = "." * LENGTH, " " * LENGTH
OPEN, MARKS = "[/EN#1/a " * (LENGTH // 9), "[/EN#1/" * (LENGTH // 7)


@pytest.mark.parametrize(
    ("read", "text", "result"),
    [
        (merged, f"a{DOTS}b", [f"a{DOTS}b"]),
        (merged, f"a{SPACES}b!{DOTS}", ["a b"]),
        (has_vector, f"{DOTS}a{DOTS}", True),
        (has_vector, f"b{DOTS}a{DOTS}", False),
        (has_vector, f"{DOTS}", False),
        (caption, f"{OPEN}dog", f"{OPEN}dog"),
        (caption, f"{MARKS}]", f"{MARKS}]"),
        (caption, f"[/EN#1/x a dog] and {OPEN}", f"a dog and {OPEN}".strip()),
        (lambda text: len(find_words(text).starts), f"a{DOTS}", 1),
    ],
    ids=range(9),
)
def test_a_long_text_is_read_in_time_that_grows_with_its_length(read, text, result):
    started = time.process_time()
    assert read(text) == result
    assert time.process_time() - started < 5
