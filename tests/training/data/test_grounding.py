"""Phrases: runs of words that mean the same boxes, as pieces, and the regions that show them.

Axes: P phrases, R regions.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.formats.training_rows import StoredPhrases, TrainingSentence
from tests.training.joined_stores import Spoken, Word, join_stores, make_image
from training.data.batches import BatchMaker, BatchOptions
from training.data.grounding import GroundingOptions, find_phrases, make_grounding
from training.data.shards import join
from training.data.targets import AlignedRow
from training.data.tokenizer import load_tokenizer

PIECES = (
    *("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "the", "man", "dog", "hat", "##s", "red", "in", "-", ",", "t"),
    *("shirt", "'", "s", "and"),
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("grounding") / "vocab.txt"
    path.write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    return load_tokenizer(str(path))


def make_row(
    tokenizer, text, words, *, row=0, number=0, image=0, images=None, in_answer=(), phrases=None, max_pieces=18
):
    """Return a pair whose sentence's words (its own text, and the IoU of each region) point, as do stored phrases."""
    starts, position = [], 0
    for says, _ in words:
        position = text.index(says, position)
        starts.append(position)
        position += len(says)
    sentence = TrainingSentence(
        sentence_id="s",
        image_ids=("a",),
        text=text,
        answers=("",),
        answer_weights=(1.0,),
        word_starts=np.array(starts, np.int32),
        word_ends=np.array([start + len(says) for start, (says, _) in zip(starts, words, strict=True)], np.int32),
        word_images=np.array(images or [0] * len(words), np.int32),
        word_in_answer=np.isin(np.arange(len(words)), in_answer),
        position=np.array([ious for _, ious in words] or np.empty((0, 3)), np.float16),
        semantic=np.zeros((len(words), 3), np.float16),
        phrases=None if phrases is None else store(text, phrases),
    )
    (pieces,) = tokenizer.encode([text], max_pieces=max_pieces)
    return AlignedRow(row=row, number=number, image=image, sentence=sentence, pieces=pieces)


def store(text, phrases):
    """Return phrases as a store holds them: of each its words, its IoU and, unless it is 0, its image."""
    starts = [text.index(says) for says, *_ in phrases]
    return StoredPhrases(
        starts=np.array(starts, np.int32),
        ends=np.array([start + len(says) for start, (says, *_) in zip(starts, phrases, strict=True)], np.int32),
        images=np.array([dict(enumerate(more)).get(0, 0) for _, _, *more in phrases], np.int32),
        in_answer=np.zeros(len(phrases), bool),
        position=np.array([ious for _, ious, *_ in phrases] or np.empty((0, 3)), np.float16),
    )


def shown(row, *, stored=False):
    """Return what each phrase says, by its pieces."""
    found = find_phrases(row, stored=stored)
    text, pieces = row.sentence.text, row.pieces
    spans = zip(found.starts - 1, found.ends - 2, strict=True)
    return [text[pieces.starts[first] : pieces.ends[last]] for first, last in spans]


def ground(rows, options=None, *, is_region=None, seed=0):
    num_regions = rows[0].sentence.position.shape[1]
    is_region = np.ones((len(rows), num_regions), bool) if is_region is None else np.array(is_region)
    return make_grounding(rows, options or GroundingOptions(), is_region=is_region, seed=seed)


A, B = [0.9, 0, 0.1], [0, 0.6, 0.5]


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        ("the man in a hat", [("the", A), ("man", A), ("a", B), ("hat", B)], ["the man", "a hat"]),
        ("the man in a hat", [("the", A), ("man", A), ("in", A), ("a", B), ("hat", B)], ["the man in", "a hat"]),
        ("the red dog", [("red", A), ("dog", B)], ["red", "dog"]),
        ("the man and the man", [("the", A), ("man", A), ("the", A), ("man", A)], ["the man", "the man"]),
        ("red, red hat", [("red", A), ("red", A), ("hat", A)], ["red", "red hat"]),
        ("red  hats", [("red", A), ("hats", A)], ["red  hats"]),
        ("the man's t-shirt", [("man's", A), ("t-shirt", B)], ["man's", "t-shirt"]),
        ("in the red hat\nthe man", [("the", A), ("red", A), ("hat", A), ("man", A)], ["the red hat", "man"]),
        ("the zyxt", [("zyxt", A)], ["zyxt"]),
        ("the man", [], []),
    ],
)
def test_a_phrase_is_a_run_of_words_with_the_same_boxes(tokenizer, text, words, expected):
    assert shown(make_row(tokenizer, text, words)) == expected


PARTED = ("the red , red hat", [("the", A), ("red", A), ("red", A), ("hat", A)], [("the red , red hat", A)])
TOUCHING = ("the man the dog", [("the", A), ("man", A), ("the", A), ("dog", A)], [("the man", A), ("the dog", A)])
NESTED = ("the man in a hat", [("the", A), ("man", A), ("in", A), ("a", B), ("hat", B)], [("the man in a hat", A),
          ("a hat", B)])  # fmt: skip
WORDLESS = ("the man - hats", [("the", A), ("man", A), ("hats", B)], [("the man", A), ("-", B), ("hats", B)])


@pytest.mark.parametrize(
    ("example", "guessed"),
    [
        (PARTED, ["the red", "red hat"]),
        (TOUCHING, ["the man the dog"]),
        (NESTED, ["the man in", "a hat"]),
        (WORDLESS, ["the man", "hats"]),
    ],
    ids=["parted by a comma", "touching, of equal boxes", "nested", "without a word"],
)
def test_stored_phrases_are_those_that_were_marked(example, guessed, tokenizer):
    text, words, marked = example
    row = make_row(tokenizer, text, words, phrases=marked)
    assert shown(row, stored=True) == [says for says, _ in marked]
    found = find_phrases(row, stored=True)
    assert found.position.tolist() == np.array([ious for _, ious in marked], np.float16).tolist()
    assert shown(row) == shown(make_row(tokenizer, text, words), stored=True) == guessed


def test_stored_phrases_come_as_they_begin_and_each_is_of_its_image(tokenizer):
    phrases = [("a hat", B), ("the man", A), ("man", B, 1), ("in", A)]
    for image, expected in ((0, ["the man", "in", "a hat"]), (1, ["man"])):
        assert shown(make_row(tokenizer, "the man in a hat", [], image=image, phrases=phrases), stored=True) == expected
    row = make_row(tokenizer, "the man in a hat", [("man", A)], phrases=[])
    assert shown(row, stored=True) == []


def test_stored_phrases_in_the_answer_are_no_phrases(tokenizer):
    row = make_row(tokenizer, "the man", [], phrases=[("the man", A)])
    answered = replace(row.sentence.phrases, in_answer=np.array([True]))
    assert shown(replace(row, sentence=replace(row.sentence, phrases=answered)), stored=True) == []


def test_a_measurement_counts_every_stored_phrase(tokenizer):
    phrases = [("the man", A), ("-", [0, 0, 0]), ("hats", B)]
    row = make_row(tokenizer, "the man - hats", [], phrases=phrases, max_pieces=3)
    found = ground([row], GroundingOptions(stored_phrases=True, keep_unshown=True))
    assert (found.starts.tolist(), found.ends.tolist()) == ([1, 3, 0], [3, 4, 1])
    assert found.gold.tolist() == [[True, False, False], [False] * 3, [False] * 3]
    assert ground([row], GroundingOptions(stored_phrases=True)).gold.tolist() == [[True, False, False]]


def test_spans_count_from_the_classifier_piece_and_end_after_the_last(tokenizer):
    found = find_phrases(make_row(tokenizer, "the man in hats", [("the", A), ("man", A), ("hats", B)]), stored=False)
    assert (found.starts.tolist(), found.ends.tolist()) == ([1, 4], [3, 6])
    assert found.position.tolist() == np.array([A, B], np.float16).tolist()


def test_a_phrase_beyond_the_limit_is_lost_or_ends_there(tokenizer):
    words = [("the", A), ("man", A), ("a", B), ("red", B), ("hats", B)]
    spans = {}
    for limit in (8, 6, 5, 4, 3, 2, 1):
        found = find_phrases(make_row(tokenizer, "the man in a red hats", words, max_pieces=limit), stored=False)
        spans[limit] = list(zip(found.starts.tolist(), found.ends.tolist(), strict=True))
    assert spans == {
        8: [(1, 3), (4, 8)],
        6: [(1, 3), (4, 7)],
        5: [(1, 3), (4, 6)],
        4: [(1, 3), (4, 5)],
        3: [(1, 3)],
        2: [(1, 3)],
        1: [(1, 2)],
    }


def test_words_of_the_answer_and_of_the_other_image_are_no_phrases(tokenizer):
    words = [("the", A), ("man", A), ("hat", B)]
    assert shown(make_row(tokenizer, "the man in a hat", words, in_answer=[2])) == ["the man"]
    for image, expected in ((0, ["the man"]), (1, ["hat"])):
        row = make_row(tokenizer, "the man in a hat", words, image=image, images=[0, 0, 1])
        assert shown(row) == expected


def test_gold_regions_overlap_enough_and_phrases_that_have_none_are_left_out(tokenizer):
    rows = [
        make_row(tokenizer, "the man in a hat", [("man", A), ("hat", B)], row=0),
        make_row(tokenizer, "a dog", [("dog", [0.1, 0.2, 0.3])], row=1),
        make_row(tokenizer, "a red hat", [("hat", [0.5, 0.5, 0.5])], row=3),
    ]
    is_region = np.ones((4, 3), bool)
    found = ground(rows, is_region=is_region)
    assert found.rows.tolist() == [0, 0, 3]
    assert (found.starts.tolist(), found.ends.tolist()) == ([2, 5, 3], [3, 6, 4])
    assert found.gold.int().tolist() == [[1, 0, 0], [0, 1, 1], [1, 1, 1]]
    strict = ground(rows, GroundingOptions(min_iou=0.6), is_region=is_region)
    assert strict.rows.tolist() == [0, 0] and strict.gold.int().tolist() == [[1, 0, 0], [0, 1, 0]]
    lenient = ground(rows, GroundingOptions(min_iou=0.2), is_region=is_region)
    assert lenient.rows.tolist() == [0, 0, 1, 3] and lenient.gold[2].int().tolist() == [0, 1, 1]


def test_phrases_that_nothing_shows_are_kept_where_they_are_asked_for(tokenizer):
    row = make_row(tokenizer, "the man in a hat", [("man", A), ("hat", [0.1, 0, 0])])
    found = ground([row], GroundingOptions(keep_unshown=True))
    assert found.starts.tolist() == [2, 5]
    assert found.gold.int().tolist() == [[1, 0, 0], [0, 0, 0]]


def test_phrases_that_are_cut_off_are_missed_where_all_are_asked_for(tokenizer):
    words = [("the", A), ("man", A), ("a", B), ("red", B), ("hats", B)]
    rows = [make_row(tokenizer, "the man in a red hats", words, row=row, max_pieces=3 + 5 * row) for row in (0, 1)]
    found = ground(rows, GroundingOptions(keep_unshown=True))
    assert found.rows.tolist() == [0, 0, 1, 1]
    assert (found.starts.tolist(), found.ends.tolist()) == ([1, 0, 1, 4], [3, 1, 3, 8])
    assert found.gold.int().tolist() == [[1, 0, 0], [0, 0, 0], [1, 0, 0], [0, 1, 1]]
    assert ground(rows).rows.tolist() == [0, 1, 1]


def test_rows_without_phrases_give_an_empty_grounding(tokenizer):
    row = make_row(tokenizer, "the man", [])
    for rows in ([], [row]):
        found = make_grounding(rows, GroundingOptions(), is_region=np.ones((2, 3), bool), seed=0)
        assert found.gold.shape == (0, 3) and found.gold.dtype == torch.bool
        assert {each.dtype for each in (found.rows, found.starts, found.ends)} == {torch.int64}
        assert len(found.rows) == 0


# the control


def test_permuted_phrases_mean_as_many_other_regions_the_same_in_every_epoch(tokenizer):
    words = [("man", [0.9, 0.7, 0, 0, 0, 0, 0, 0]), ("hat", [0, 0, 0.8, 0, 0, 0, 0, 0])]
    rows = [make_row(tokenizer, "the man in a hat", words, row=i, number=i) for i in range(20)]
    plain, options = ground(rows), GroundingOptions(permuted=True)
    permuted = ground(rows, options)
    for name in ("rows", "starts", "ends"):
        assert torch.equal(getattr(permuted, name), getattr(plain, name))
    assert torch.equal(permuted.gold.sum(1), plain.gold.sum(1))
    assert 0.5 < (permuted.gold != plain.gold).any(1).float().mean() < 1
    assert torch.equal(ground(rows, options).gold, permuted.gold)
    assert not torch.equal(ground(rows, options, seed=1).gold, permuted.gold)


def test_phrases_of_one_sentence_are_permuted_alike(tokenizer):
    row = make_row(tokenizer, "the man in a hat", [("man", [0.9, 0, 0, 0, 0]), ("hat", [0.9, 0.7, 0, 0, 0])], number=3)
    gold = ground([row], GroundingOptions(permuted=True)).gold
    assert (gold[0] & gold[1]).any()


@settings(max_examples=30, deadline=None)
@given(number=st.integers(0, 1000), num_regions=st.integers(1, 8), seed=st.integers(0, 9))
def test_permuted_regions_are_regions(tokenizer, number, num_regions, seed):
    row = make_row(tokenizer, "the man", [("man", [0.9] + [0.0] * 7)], number=number)
    gold = ground([row], GroundingOptions(permuted=True), is_region=[np.arange(8) < num_regions], seed=seed).gold
    assert gold.sum() == 1 and gold[0, :num_regions].any()


@pytest.mark.parametrize("min_iou", [0, -0.5, 1.5])
def test_an_overlap_that_means_nothing_is_refused(min_iou):
    with pytest.raises(ValueError, match=f"min_iou is {min_iou}, expected above 0 and at most 1"):
        GroundingOptions(min_iou=min_iou)


# from stores to batches


def test_a_batch_has_the_phrases_of_both_images_and_none_of_exchanged_sentences(tokenizer, tmp_path):
    images = [make_image("a-small", num_boxes=2), make_image("b-large", num_boxes=5)]
    both = Spoken(
        text="the man and the red hats",
        image_ids=["a-small", "b-large"],
        words=[
            Word(says="man", position=[0, 0.8], semantic=[0.0] * 2),
            Word(says="red", position=[0, 0, 0, 0.7, 0.6], semantic=[0.0] * 5, image=1),
            Word(says="hats", position=[0, 0, 0, 0.7, 0.6], semantic=[0.0] * 5, image=1),
        ],
    )
    shards = join(*join_stores(tmp_path, [images], [[both, both]]))
    options = BatchOptions(grounding=GroundingOptions())
    found = BatchMaker(shards, tokenizer, options).make(np.array([0, 1])).grounding
    assert found.rows.tolist() == [0, 1, 2, 3]
    assert (found.starts.tolist(), found.ends.tolist()) == ([2, 5, 2, 5], [3, 8, 3, 8])
    assert found.gold.int().tolist() == [[0, 1, 0, 0, 0], [0, 0, 0, 1, 1]] * 2
    permuted = BatchOptions(grounding=GroundingOptions(permuted=True))
    for seed in range(5):
        gold = BatchMaker(shards, tokenizer, permuted, seed=seed).make(np.array([0])).grounding.gold
        assert gold.sum(1).tolist() == [1, 2] and not gold[0, 2:].any()
    assert BatchMaker(shards, tokenizer, BatchOptions()).make(np.array([0])).grounding is None


def test_an_exchanged_sentence_has_no_phrases(tokenizer, tmp_path):
    images = [make_image(str(i), num_boxes=2) for i in range(8)]
    words = [Word(says="man", position=[0.9, 0], semantic=[0.0] * 2)]
    captions = [Spoken(text="the man", image_ids=[image.image_id], words=words) for image in images]
    shards = join(*join_stores(tmp_path, [images], [captions]))
    options = BatchOptions(mismatch=0.5, grounding=GroundingOptions())
    batch = BatchMaker(shards, tokenizer, options).make(np.arange(8))
    assert 0 < batch.is_matched.sum() < 8
    assert batch.grounding.rows.tolist() == batch.is_matched.nonzero()[:, 0].tolist()
