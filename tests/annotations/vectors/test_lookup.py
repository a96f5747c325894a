import os
import re
from pathlib import Path

import numpy as np
import pytest
from gensim.models import KeyedVectors
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.vectors.files import VectorTable
from annotations.vectors.lookup import WordVectors, read_word_vectors

TEST_DATA = Path(os.environ.get("VINCULUM_TEST_DATA", Path(__file__).parents[3] / "../shared/data"))

TOY = {
    "dog": (1, 0, 0),
    "cat": (0.8, 0.6, 0),
    "tree": (0, 1, 0),
    "car": (-0.6, 0, 0.8),
    "traffic": (0, 0.6, 0.8),
    "light": (0.6, 0, 0.8),
    "brown": (0.6, 0.8, 0),
    "green": (0, 0.8, 0.6),
    "red": (0, 0, 1),
}


def make_vectors(vectors=TOY):
    rows = {word: row for row, word in enumerate(vectors)}
    return WordVectors(VectorTable(rows=rows, vectors=np.array(list(vectors.values()), np.float32)))


def similar(phrase, name, **options):
    values, _ = make_vectors().similarity([phrase], [name], **options)
    return float(values[0, 0])


@pytest.fixture(scope="module")
def real_path():
    path = TEST_DATA / "vectors/glove.6B.50d.real_subset.txt"
    if not path.exists():
        pytest.skip(f"no word vectors at {path}; set VINCULUM_TEST_DATA")
    return path


@pytest.fixture(scope="module")
def real_vectors(real_path):
    return read_word_vectors(real_path)


def test_the_worked_numbers():
    names = ["dog", "cat", "traffic light", "tree", "car", "unicorn"]
    values, oov = make_vectors().similarity(["dog"], names)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [[1, 0.8, 0.331295, 0, -0.6, 0]], atol=1e-6)
    assert oov.tolist() == [False]


def test_the_worked_attributes():
    values, _ = make_vectors().similarity(["dog"], ["brown", "brown", "red", "green", "mauve"])
    np.testing.assert_allclose(values, [[0.6, 0.6, 0, 0, 0]], atol=1e-6)


def test_a_phrase_out_of_vocabulary_is_similar_to_nothing_and_flagged():
    values, oov = make_vectors().similarity(["dog", "unicorn", "unicorn dog", ""], ["dog", "cat"])
    np.testing.assert_allclose(values, [[1, 0.8], [0, 0], [1, 0.8], [0, 0]], atol=1e-6)
    assert oov.tolist() == [False, True, False, True]


def test_an_unknown_word_leaves_the_mean_of_the_others():
    vector = make_vectors().phrase_vector("big Traffic-Light")
    np.testing.assert_allclose(vector, [0.3, 0.3, 0.8], atol=1e-6)
    assert vector.dtype == np.float32
    assert make_vectors().phrase_vector("unicorn") is None


@pytest.mark.parametrize(
    "phrase",
    ["dog", "DOG", "dog's", "dog\u2019s", "dog.", "(dog)", "\u201cdog\u201d,", "d.o.g.", "dog's.", " dog\n", "_dog"],
)
def test_a_word_is_found_however_it_is_written(phrase):
    assert similar(phrase, "dog") == pytest.approx(1, abs=1e-6)


def test_a_word_that_is_there_as_written_is_taken_so():
    vectors = make_vectors({"dog": (1, 0, 0), "dog's": (0, 1, 0)})
    assert vectors.phrase_vector("dog's").tolist() == [0, 1, 0]


def test_the_first_alias_counts_unless_the_most_similar_is_asked_for():
    assert similar("dog", "tree,dog") == 0
    assert similar("dog", "tree,dog", aliases="max") == 1


def test_an_alias_out_of_vocabulary_does_not_count():
    assert similar("dog", "car,automobile", aliases="max") == pytest.approx(-0.6)
    assert similar("dog", "automobile,unicorn", aliases="max") == 0
    assert similar("unicorn", "dog,cat", aliases="max") == 0


def test_a_comma_in_a_phrase_is_punctuation():
    np.testing.assert_allclose(make_vectors().phrase_vector("traffic, light"), [0.3, 0.3, 0.8], atol=1e-6)


def test_vectors_without_direction_are_out_of_vocabulary():
    vectors = make_vectors({"none": (0, 0, 0), "up": (0, 1, 0), "down": (0, -1, 0), "broken": (np.nan, 0, 0)})
    values, oov = vectors.similarity(["none", "up down", "broken", "up"], ["up", "none", "broken"])
    assert oov.tolist() == [True, True, True, False]
    assert values.tolist() == [[0, 0, 0], [0, 0, 0], [0, 0, 0], [1, 0, 0]]


def test_no_phrases_and_no_names_are_an_empty_table():
    for aliases in ("first", "max"):
        assert make_vectors().similarity([], ["dog"], aliases=aliases)[0].shape == (0, 1)
        assert make_vectors().similarity(["dog"], [], aliases=aliases)[0].shape == (1, 0)


def test_other_names_give_another_table():
    vectors = make_vectors()
    assert vectors.similarity(["dog"], ["dog"])[0].tolist() == [[1]]
    assert vectors.similarity(["dog"], ["tree"])[0].tolist() == [[0]]
    assert vectors.similarity(["dog"], ["tree,dog"], aliases="max")[0].tolist() == [[1]]


def test_vectors_know_their_words():
    vectors = make_vectors()
    assert (vectors.dim, len(vectors), "dog" in vectors, "unicorn" in vectors) == (3, 9, True, False)


words = st.lists(st.sampled_from([*TOY, "unicorn", "a", "'s"]), max_size=4).map(" ".join)


@given(phrases=st.lists(words, max_size=4), names=st.lists(words, max_size=4))
@settings(max_examples=60)
def test_similarity_is_symmetric_and_bounded_and_zero_where_flagged(phrases, names):
    vectors = make_vectors()
    values, oov = vectors.similarity(phrases, names)
    assert np.abs(values).max(initial=0) <= 1
    assert not values[oov].any()
    np.testing.assert_allclose(values, vectors.similarity(names, phrases)[0].T, atol=1e-6)
    for row, phrase in enumerate(phrases):
        assert oov[row] == (vectors.phrase_vector(phrase) is None)


def test_single_words_agree_with_gensim(real_path, real_vectors):
    keyed = KeyedVectors.load_word2vec_format(str(real_path), no_header=True)
    words = ["dog", "cat", "car", "tree", "the", "red", "window", "u.s.", "two"]
    assert len(real_vectors) == len(keyed) == 10364
    expected = [[keyed.similarity(left, right) for right in words] for left in words]
    np.testing.assert_allclose(real_vectors.similarity(words, words)[0], expected, atol=1e-6)
    for word in words:
        np.testing.assert_array_equal(real_vectors.phrase_vector(word), keyed[word])


def test_the_detectors_names_are_covered_as_the_data_says(real_vectors):
    lines = (TEST_DATA / "vocab/vg_objects_vocab.txt").read_text().splitlines()
    names = [line.split(",")[0] for line in lines]
    whole = [name for name in names if all(word in real_vectors for word in re.split("[ -]", name))]
    with_vector = [name for name in names if real_vectors.phrase_vector(name) is not None]
    assert (len(names), sum(" " in line for line in lines), sum("," in line for line in lines)) == (1600, 290, 24)
    assert len(whole) == 847  # 53 %
    assert len(with_vector) == 930  # another 5 % have a vector for some of their words
    _, oov = real_vectors.similarity(lines, ["dog"])
    assert oov.sum() == 1600 - 937  # 7 more where a second alias is known
