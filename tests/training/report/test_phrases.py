"""What a click on a word lights up: the words of its phrase, as annotators marked it."""

import pytest

from stores.reading import open_store
from stores.sentence_reading import open_sentences
from tests.stores.version_two import make_sentences_old
from tests.training.joined_stores import Marked, Spoken, join_stores, make_image
from training.report.sentences import make_exhibit

A, B = [0.9, 0, 0, 0], [0, 0.9, 0, 0]


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize(
    ("text", "phrases", "expected"),
    [
        ("a man 's blue , worn shirt is", [("a man 's blue , worn shirt", A)], [range(6), [6]]),
        ("a man himself is", [("a man", A), ("himself", A)], [[0, 1], [2], [3]]),
        ("a man in his hat is", [("a man in his hat", A), ("his hat", B)], [[0, 1, 2], [3, 4], [5]]),
        ("it is", [], [[0], [1]]),
    ],
    ids=["with punctuation", "equal boxes", "nested", "none"],
)
def test_words_of_one_pointer_are_one_phrase(text, phrases, expected, is_old, tmp_path):
    marked = [Marked(says=says, position=position) for says, position in phrases]
    stores = join_stores(
        tmp_path / "joined", [[make_image("a")]], [[Spoken(text=text, image_ids=["a"], phrases=marked)]]
    )
    if is_old:  # spans were stored always
        make_sentences_old(stores[1])
    with open_store(stores[0]) as regions, open_sentences(stores[1]) as sentences:
        shown = make_exhibit(sentences.read(0, 0), regions.get("a"), {}, [])
    assert [word["phrase"] for word in shown["words"]] == [list(each) for each in expected for _ in each]
