"""What training reads of a sentence is what the whole sentence says, in every kind of store."""

from dataclasses import is_dataclass

import numpy as np
import pytest

from stores.catalog import STORES
from stores.formats.sentence_columns import sentence_fields
from stores.formats.training_rows import brief, index_of
from stores.sentence_reading import open_sentences
from tests.training.joined_stores import Spoken, Word, join_stores, make_image

IMAGES = [[make_image("a"), make_image("b", num_boxes=2), make_image("é", num_boxes=0)]]
SENTENCES = [
    [
        Spoken(
            text="A man's dog 🐕.",
            image_ids=["a"],
            words=[
                Word(says="man's", position=[0, 0.5, 1, 0], semantic=[-0.25, 0, 0.5, 1]),
                Word(says="the", position=[1, 0, 0, 0], semantic=[0, 0, 0, 1], in_answer=True),
            ],
            answers={"the dog": 1.0, "dog": 0.3},
        ),
        Spoken(text="no word points", image_ids=["b"], source="other", split="val"),
        Spoken(
            text="two images",
            image_ids=["b", "a"],
            words=[Word(says="two", position=[0.5, 0.5], semantic=[1, 1]), Word(says="images", position=[0, 0, 0, 1],
                   semantic=[0, 1, 0, 0], image=1)],
            answers={"True": 1.0},
        ),
        Spoken(text="", image_ids=["é"], split="test"),
    ],
    [],
    [Spoken(text="word " * 500, image_ids=["a"])],
]  # fmt: skip


@pytest.fixture(params=STORES)
def store(request, tmp_path):
    _, sentences = join_stores(tmp_path, IMAGES, SENTENCES, store=request.param)
    with open_sentences(sentences) as opened:
        yield opened


def assert_same(found, expected):
    for name in type(expected).__dataclass_fields__:
        have, want = getattr(found, name), getattr(expected, name)
        if is_dataclass(want):
            assert_same(have, want)
        elif isinstance(want, np.ndarray):
            assert (have.dtype, have.shape, have.tolist()) == (want.dtype, want.shape, want.tolist()), name
        else:
            assert have == want, name


def test_a_row_for_training_is_the_whole_sentence_in_brief(store):
    for shard, entry in enumerate(store.manifest.shards):
        for row in range(entry.rows):
            assert_same(store.read_for_training(shard, row), brief(store.read(shard, row)))


def test_the_numbers_are_those_that_were_written(store):
    first = store.read_for_training(0, 0)
    assert (first.sentence_id, first.image_ids, first.text) == ("0-00000", ("a",), "A man's dog 🐕.")
    assert first.answers == ("the dog", "dog")
    assert first.answer_weights == pytest.approx((1.0, 0.3))
    assert first.word_starts.tolist() == [2, 0]
    assert first.word_ends.tolist() == [7, 3]
    assert first.word_in_answer.tolist() == [False, True]
    assert first.position.tolist() == [[0, 0.5, 1, 0], [1, 0, 0, 0]]
    assert first.semantic.tolist() == [[-0.25, 0, 0.5, 1], [0, 0, 0, 1]]
    assert store.read_for_training(0, 2).word_images.tolist() == [0, 1]
    assert store.read_for_training(0, 3).position.shape == (0, 0)
    assert store.read_for_training(2, 0).text == "word " * 500


def test_the_index_of_a_shard_is_that_of_its_whole_sentences(store):
    for shard, entry in enumerate(store.manifest.shards):
        whole = index_of(sentence_fields(store.read(shard, row)) for row in range(entry.rows))
        found = store.index(shard)
        assert_same(found, whole)
        assert len(found) == entry.rows


def test_the_index_counts_bytes_images_regions_and_answers(store):
    index = store.index(0)
    assert index.image_ids == ["a", "b", "b", "a", "é"]
    assert index.num_regions.tolist() == [4, 2, 2, 4, 0]
    assert index.num_images.tolist() == [1, 1, 2, 1]
    assert index.num_bytes.tolist() == [17, 14, 10, 0]
    assert index.num_answers.tolist() == [2, 0, 1, 0]
    assert index.sources == ["captions", "other", "captions", "captions"]
    assert index.splits == ["train", "val", "train", "test"]


def test_a_row_beyond_the_shard_is_refused(store):
    with pytest.raises(IndexError, match="has 4 rows, asked for row 4"):
        store.read_for_training(0, 4)
