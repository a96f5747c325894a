"""Names that are not there contribute nothing, and the other name has their weight."""

import numpy as np
import pytest

from annotations.alignment.criteria import measure_criteria
from annotations.alignment.region_names import RegionNames, tell_unnamed
from annotations.alignment.sentences import ImageRegions
from annotations.alignment.similarity_table import SimilarityTable
from annotations.records import Pointer, Sentence, SentenceImage
from annotations.vectors.lookup import read_word_vectors

CLASSES = ("dog", "tree", "background")
ATTRIBUTES = ("none", "brown")


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    path = tmp_path_factory.mktemp("vectors") / "vectors.txt"
    path.write_text(
        "dog 1 0\ntree 0 1\nbrown .6 .8\nnone .8 .6\nbackground 0 1\na .8 .6\nclass .8 .6\nattribute .8 .6\n"
    )
    return read_word_vectors(path)


def semantic(vectors, class_id, attribute_id, *, classes=CLASSES, attributes=ATTRIBUTES, class_weight=0.75, **options):
    table = SimilarityTable(vectors, classes=classes, attributes=attributes, **options)
    ids = np.array([[class_id, 0]], np.int32), np.array([[attribute_id, 1]], np.int32)
    found, _ = table.semantic(["dog"], np.zeros(1, np.int64), *ids, class_weight=class_weight)
    return float(found[0, 0])


@pytest.mark.parametrize(
    ("class_id", "attribute_id", "expected"),
    [
        (0, 1, 0.75 * 1 + 0.25 * 0.6),
        (0, -1, 1.0),
        (0, 0, 1.0),  # an attribute `none` is none
        (-1, 1, 0.6),
        (-1, -1, 0.0),
        (-1, 0, 0.0),
        (2, 1, 0.75 * 0 + 0.25 * 0.6),  # Visual Genome has things of the class `background`
    ],
)
def test_the_other_name_has_the_weight_of_one_that_is_absent(vectors, class_id, attribute_id, expected):
    assert semantic(vectors, class_id, attribute_id) == pytest.approx(expected)


def test_a_weight_of_nothing_stays_nothing(vectors):
    assert semantic(vectors, -1, 1, class_weight=1.0) == 0
    assert semantic(vectors, 0, -1, class_weight=0.0) == 0


def test_a_store_that_an_older_version_began_goes_on_as_it_did(vectors):
    assert semantic(vectors, 0, -1, absent_names="zero") == pytest.approx(0.75)
    assert semantic(vectors, 0, 0, absent_names="zero") == pytest.approx(0.75 + 0.25 * 0.8)


@pytest.mark.parametrize("name", ["__background__", "background", "N/A", "none", "class 0007", "", " None "])
def test_a_first_class_that_says_nothing_is_no_name(vectors, name):
    assert semantic(vectors, 0, 1, classes=(name, "tree")) == pytest.approx(0.6)


@pytest.mark.parametrize("name", ["none", "background", "no attribute", "__no_attribute__", "attribute 013"])
def test_an_attribute_that_says_nothing_is_no_name(vectors, name):
    assert semantic(vectors, 0, 0, attributes=(name, "brown")) == pytest.approx(1.0)


def image(class_ids, attribute_ids):
    return ImageRegions(
        image_id="1",
        width=100,
        height=100,
        boxes_xyxy=np.zeros((len(class_ids), 4), np.float32),
        class_ids=np.array(class_ids, np.int32),
        attribute_ids=np.array(attribute_ids, np.int32),
    )


def test_what_is_absent_is_counted_and_told():
    names = RegionNames(CLASSES, ATTRIBUTES)
    counts = names.count([image((0, 1, -1), (1, 0, -1)), image((-1,), (1,))])
    assert counts == {
        "regions": 4,
        "regions_without_class": 2,
        "regions_without_attribute": 2,
        "regions_without_names": 1,
    }
    assert "of 4 regions 2 have no class name and 2 no attribute" in tell_unnamed(counts)
    assert "none has a name, the semantic criterion is 0" in tell_unnamed(names.count([image((-1,), (0,))]))
    assert names.count([image((0,), (1,))]) == names.count([]) == {}
    assert tell_unnamed({}) == ""
    assert RegionNames((), ()).count([image((-1, -1), (-1, -1))])["regions_without_names"] == 2


def measured(vectors, text, span, **options):
    start = text.index(span)
    pointer = Pointer(start=start, end=start + len(span), boxes_xyxy=((0, 0, 9, 9),))
    sentence = Sentence(
        sentence_id="s",
        images=(SentenceImage(image_id="1", width=100, height=100),),
        text=text,
        source="test",
        split="train",
        pointers=(pointer,),
    )
    table = SimilarityTable(vectors, classes=CLASSES, attributes=ATTRIBUTES)
    (found,) = measure_criteria([sentence], {"1": image((0, 1), (-1, -1))}, table, **options)
    return found.words


def test_function_words_that_are_left_out_have_no_semantic_row(vectors):
    compared = measured(vectors, "a dog", "a dog")
    assert compared.semantic.tolist() == pytest.approx(np.array([[0.8, 0.6], [1, 0]]), abs=1e-3)
    left_out = measured(vectors, "a dog", "a dog", function_words="left-out")
    assert left_out.semantic.tolist() == [[0, 0], [1, 0]]
    assert left_out.oov.tolist() == [True, False]
    assert (left_out.position == compared.position).all() and len(left_out) == 2


def test_every_word_may_have_the_best_of_its_phrase(vectors):
    best = measured(vectors, "a brown tree .", "a brown tree", unit="best")
    assert best.semantic.tolist() == pytest.approx(np.array([[0.8, 1]] * 3), abs=1e-3)
    left_out = measured(vectors, "a brown tree .", "a brown tree", unit="best", function_words="left-out")
    assert left_out.semantic.tolist() == pytest.approx(np.array([[0.6, 1]] * 3), abs=1e-3)
    assert not left_out.oov.any()
    nothing = measured(vectors, "the wug", "the wug", unit="best")
    assert nothing.oov.tolist() == [True, True] and not nothing.semantic.any()
    assert measured(vectors, "the a", "the a", unit="best", function_words="left-out").oov.all()


def test_a_span_is_compared_without_function_words_that_are_left_out(vectors):
    whole = measured(vectors, "a dog", "a dog", unit="span")
    assert whole.semantic[0, 0] == pytest.approx(0.949, abs=1e-3)
    left_out = measured(vectors, "a dog", "a dog", unit="span", function_words="left-out")
    assert left_out.semantic.tolist() == [[1, 0], [1, 0]]
