"""A tokenizer that is trained is a pure function of its texts: runs that share a recipe share their pieces."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.tokenizer import load_tokenizer, train_tokenizer

TEXTS = ["a red dog near a blue tree", "What color is the house?", "two cats and a dog don't sit"]


def pieces_of(texts, size=80):
    return train_tokenizer(texts, vocab_size=size).backend.to_str()


def test_the_same_texts_give_the_same_pieces_again_and_again():
    first = pieces_of(TEXTS)
    assert all(pieces_of(TEXTS) == first for _ in range(8))


def test_the_order_of_the_texts_does_not_matter():
    assert pieces_of(TEXTS[::-1]) == pieces_of(TEXTS)


@pytest.mark.parametrize("size", [40])
def test_another_process_learns_the_same_pieces(size):
    script = (
        "import sys; from tests.training.data.test_tokenizer_training import *\n"
        "print(pieces_of(TEXTS, int(sys.argv[1])))"
    )
    root = Path(__file__).parents[3]
    found = subprocess.run(
        [sys.executable, "-c", script, str(size)], capture_output=True, text=True, check=True, cwd=root
    ).stdout
    assert found.rstrip("\n") == pieces_of(TEXTS, size)


@given(st.lists(st.text(max_size=30), min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_any_texts_give_a_tokenizer_that_knows_all_their_words_and_comes_back_from_disk(tmp_path_factory, texts):
    tokenizer = train_tokenizer(texts, vocab_size=3000)
    assert all(tokenizer.unknown_id not in pieces.ids for pieces in tokenizer.encode(texts, max_pieces=90))
    folder = tmp_path_factory.mktemp("tokenizer")
    tokenizer.save(folder)
    assert load_tokenizer(str(folder)).backend.to_str() == tokenizer.backend.to_str()


def test_special_pieces_are_first_and_words_within_texts_are_not_special():
    tokenizer = train_tokenizer(TEXTS, vocab_size=200)
    assert (tokenizer.padding_id, tokenizer.unknown_id, tokenizer.classify_id) == (0, 1, 2)
    assert tokenizer.special_ids == {0, 2, 3, 4}
    (pieces,) = tokenizer.encode(["a ##o dog"], max_pieces=9)
    assert [(int(a), int(b)) for a, b in zip(pieces.starts, pieces.ends, strict=True)] == [
        (0, 1),
        (2, 3),
        (3, 4),
        (4, 5),
        (6, 9),
    ]
