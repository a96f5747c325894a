"""Both criteria of many sentences at once, against a plain loop over words, boxes and regions."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.alignment.criteria import fit_to_regions, measure_criteria
from annotations.alignment.sentences import ImageRegions
from annotations.alignment.similarity_table import SimilarityTable
from annotations.boxes import pairwise_iou
from annotations.records import Answer, Pointer, Sentence, SentenceImage
from annotations.vectors.lookup import read_word_vectors

VECTORS = """dog 1 0 0
cat .8 .6 0
tree 0 1 0
car -.6 0 .8
traffic 0 .6 .8
light .6 0 .8
brown .6 .8 0
green 0 .8 .6
red 0 0 1
"""
CLASSES = ("dog", "cat", "traffic light", "tree", "car")
ATTRIBUTES = ("brown", "red", "green", "spotted")
BOXES = np.array([[10, 10, 50, 50], [20, 20, 60, 60], [40, 10, 90, 50], [60, 60, 90, 90], [0, 0, 100, 100]], np.float32)
DOG = (10.0, 10.0, 50.0, 50.0)
CORNER = (60.0, 60.0, 90.0, 90.0)


@pytest.fixture(scope="module")
def vectors(tmp_path_factory):
    path = tmp_path_factory.mktemp("vectors") / "toy.txt.gz"
    path.write_bytes(gzip.compress(VECTORS.encode()))
    return read_word_vectors(path)


@pytest.fixture
def table(vectors):
    return SimilarityTable(vectors, classes=CLASSES, attributes=ATTRIBUTES)


def regions(image_id="1", boxes=BOXES, class_ids=(0, 1, 2, 3, 4), attribute_ids=(0, 0, 1, 2, 3)):
    return ImageRegions(
        image_id=image_id,
        width=100,
        height=100,
        boxes_xyxy=np.asarray(boxes, np.float32).reshape(-1, 4),
        class_ids=np.asarray(class_ids, np.int32),
        attribute_ids=np.asarray(attribute_ids, np.int32),
    )


def point(text, words, *boxes, image=0):
    start = text.index(words)
    return Pointer(start=start, end=start + len(words), boxes_xyxy=boxes, image=image)


def sentence(text, *pointers, sentence_id="s", image_ids=("1",), **more):
    images = tuple(SentenceImage(image_id=each, width=100, height=100) for each in image_ids)
    return Sentence(
        sentence_id=sentence_id, images=images, text=text, source="test", split="train", pointers=pointers, **more
    )


def measure(table, *sentences, unit="word", **images):
    known = {"1": regions()} | {each.image_id: each for each in images.values()}
    return measure_criteria(sentences, known, table, unit=unit)


def test_the_worked_example_of_the_specification(table):
    words = measure(table, sentence("A dog.", point("A dog.", "dog", DOG)))[0].words
    assert (words.starts.tolist(), words.ends.tolist()) == ([2], [5])
    assert words.position[0] == pytest.approx([1, 0.391304, 0.125, 0, 0.16], abs=5e-4)
    assert words.semantic[0] == pytest.approx([0.9, 0.75, 0.248471, 0, -0.45], abs=5e-4)
    assert words.oov.tolist() == [False]


def test_every_word_of_a_phrase_points_at_its_boxes(table):
    text = "the Dog (brown), sits"
    words = measure(table, sentence(text, point(text, "Dog (brown),", DOG)))[0].words
    assert [text[a:b] for a, b in zip(words.starts, words.ends, strict=True)] == ["Dog", "brown"]
    assert (words.position[0] == words.position[1]).all()
    assert words.semantic[0, 0] > words.semantic[1, 0]


def test_a_word_with_several_boxes_has_the_largest_iou(table):
    words = measure(table, sentence("two dogs", point("two dogs", "two dogs", DOG, CORNER)))[0].words
    assert words.position[0].tolist() == words.position[1].tolist()
    assert words.position[0] == pytest.approx(pairwise_iou([DOG, CORNER], BOXES).max(axis=0), abs=5e-4)


def test_a_word_in_nested_phrases_has_the_boxes_of_all_of_them(table):
    text = "a dog below a tree"
    words = measure(table, sentence(text, point(text, text, CORNER), point(text, "dog", DOG)))[0].words
    assert words.starts.tolist() == [0, 2, 6, 12, 14]
    assert words.position[1] == pytest.approx(pairwise_iou([DOG, CORNER], BOXES).max(axis=0), abs=5e-4)
    assert words.position[0] == pytest.approx(pairwise_iou([CORNER], BOXES)[0], abs=5e-4)


def test_words_come_in_the_order_of_the_text(table):
    text = "a dog and a cat"
    words = measure(table, sentence(text, point(text, "cat", CORNER), point(text, "dog", DOG)))[0].words
    assert words.starts.tolist() == [2, 12]


def test_a_phrase_without_boxes_and_a_sentence_without_pointers_have_no_pointed_words(table):
    aligned = measure(table, sentence("the beach", point("the beach", "beach")), sentence("a dog", sentence_id="t"))
    assert [len(each.words) for each in aligned] == [0, 0]
    assert aligned[0].words.position.shape == (0, 5)


WIDE = (0.0, 0.0, 100.0, 100.0)


@pytest.mark.parametrize(
    ("text", "pointed", "num_words"),
    [
        ("a man and his dog", [("a man and his dog", [WIDE]), ("his dog", [DOG]), ("dog", [CORNER])], 5),
        ("a man 's blue , worn shirt", [("a man 's blue , worn shirt", [DOG])], 6),
        ("a dog a cat", [("a dog", [DOG]), ("a cat", [DOG])], 4),
        ("a dog & a cat", [("a dog", [DOG]), ("&", [CORNER]), ("a cat", [WIDE])], 4),
        ("two dogs", [("two dogs", [DOG, CORNER])], 2),
        ("a dog on the beach with a cat", [("a dog", [DOG]), ("the beach", []), ("a cat", [CORNER])], 4),
        ("a cat and a dog", [("a dog", [DOG]), ("a cat", [CORNER])], 4),
    ],
    ids=["nested", "with punctuation", "equal boxes", "without a word", "several boxes", "without boxes", "unordered"],
)
def test_every_pointer_with_boxes_has_the_overlap_of_its_own_boxes(table, text, pointed, num_words):
    other = sentence("a dog", point("a dog", "dog", CORNER), sentence_id="t")
    aligned = measure(table, sentence(text, *(point(text, says, *boxes) for says, boxes in pointed)), other)
    expected = [pairwise_iou(boxes, BOXES).max(axis=0) for _, boxes in pointed if boxes]
    assert len(aligned[0].words) == num_words
    found = np.stack([aligned[0].pointer_position, np.nextafter(aligned[0].pointer_position, np.float16(2))])
    assert (found[0] <= expected).all() and (expected < found[1]).all()  # rounded down
    assert aligned[1].pointer_position == pytest.approx(aligned[1].words.position, abs=5e-4)


def test_a_region_shows_a_phrase_by_half_only_where_its_overlap_is_a_half(table):
    almost, half = (0.0, 0.0, 100.0, 49.995), (0.0, 0.0, 100.0, 50.0)
    text = "a dog a cat"
    aligned = measure(table, sentence(text, point(text, "a dog", almost), point(text, "a cat", half)))[0]
    assert aligned.words.position[:, 4].tolist() == [0.5] * 4
    assert (aligned.pointer_position[:, 4] >= 0.5).tolist() == [False, True]


def test_an_answer_that_points_has_rows_of_its_own(table):
    text = "What is left of the tree?"
    question = sentence(
        text,
        point(text, "tree", CORNER),
        answers=(Answer(text="dog"),),
        answer_pointers=(Pointer(start=0, end=3, boxes_xyxy=(DOG,)),),
    )
    words = measure(table, question)[0].words
    assert words.in_answer.tolist() == [False, True]
    assert words.ends.tolist() == [24, 3]
    assert words.position[1, 0] == 1
    assert measure(table, question)[0].pointer_position == pytest.approx(words.position, abs=5e-4)


def test_a_word_that_no_region_overlaps_has_zeros(table):
    words = measure(
        table,
        sentence("dog", point("dog", "dog", (95.0, 1.0, 99.0, 5.0))),
        small=regions("1", BOXES[:4], (0, 1, 2, 3), (0, 0, 1, 2)),
    )[0].words
    assert not words.position.any()
    assert words.semantic.any()


def test_a_word_that_the_vectors_do_not_know_is_told(table):
    words = measure(table, sentence("a wug", point("a wug", "wug", DOG)))[0].words
    assert words.oov.tolist() == [True]
    assert not words.semantic.any()


def test_an_unknown_class_or_attribute_is_similar_to_nothing(table):
    unknown = regions("1", BOXES[:2], (-1, 0), (-1, -1))
    words = measure(table, sentence("dog", point("dog", "dog", DOG)), unknown=unknown)[0].words
    assert words.semantic[0].tolist() == [0, 1]


def test_a_whole_phrase_can_be_compared(table):
    text = "a traffic light"
    by_word = measure(table, sentence(text, point(text, "traffic light", DOG)))[0].words
    by_span = measure(table, sentence(text, point(text, "traffic light", DOG)), unit="span")[0].words
    assert by_span.semantic[0].tolist() == by_span.semantic[1].tolist()
    assert by_span.semantic[0, 2] > by_word.semantic[:, 2].max()


def test_words_of_a_pair_point_into_their_own_image(table):
    text = "a dog and a cat"
    pair = sentence(text, point(text, "dog", DOG), point(text, "cat", CORNER, image=1), image_ids=("1", "2"))
    other = regions("2", BOXES[3:4], (1,), (0,))
    aligned = measure(table, pair, other=other)[0]
    assert aligned.num_boxes == (5, 1)
    assert aligned.words.images.tolist() == [0, 1]
    assert aligned.words.position[1].tolist() == [1, 0, 0, 0, 0]
    assert aligned.words.semantic[1, 1:].tolist() == [0, 0, 0, 0]


def test_an_image_without_regions_gives_rows_without_entries(table):
    none = regions("1", np.zeros((0, 4)), (), ())
    aligned = measure(table, sentence("dog", point("dog", "dog", DOG)), none=none)[0]
    assert aligned.words.position.shape == (1, 0)


def test_boxes_are_scaled_to_the_image_that_the_regions_are_of(table):
    half = Sentence(
        sentence_id="s",
        images=(SentenceImage(image_id="61512", width=50, height=200, coco_id="9"),),
        text="dog",
        source="test",
        split="train",
        pointers=(Pointer(start=0, end=3, boxes_xyxy=((5.0, 20.0, 25.0, 100.0),)),),
    )
    fitted = fit_to_regions(half, [regions("COCO_train2014_000000000009")])
    assert fitted.pointers[0].boxes_xyxy == (DOG,)
    assert fitted.images[0] == SentenceImage(image_id="COCO_train2014_000000000009", width=100, height=100, coco_id="9")


def test_boxes_of_an_image_of_unknown_size_stay_as_they_are():
    unknown = sentence("dog", point("dog", "dog", DOG))
    unknown = Sentence(
        **{name: getattr(unknown, name) for name in unknown.__slots__} | {"images": (SentenceImage(image_id="1"),)}
    )
    assert fit_to_regions(unknown, [regions()]).pointers[0].boxes_xyxy == (DOG,)


def test_a_full_table_starts_anew_and_gives_the_same(vectors):
    small = SimilarityTable(vectors, classes=CLASSES, attributes=ATTRIBUTES, max_phrases=3)
    large = SimilarityTable(vectors, classes=CLASSES, attributes=ATTRIBUTES)
    ids = np.arange(4, dtype=np.int32)[None]
    for phrases in (["dog", "cat"], ["tree", "wug"], ["dog", "dog", "wug"]):
        rows = np.zeros(len(phrases), np.int64)
        made = [each.semantic(phrases, rows, ids, ids, class_weight=0.75) for each in (small, large)]
        assert made[0][0].tolist() == made[1][0].tolist()
        assert made[0][1].tolist() == made[1][1].tolist()


def test_the_most_similar_alias_counts_where_that_is_asked_for(vectors):
    ids = np.zeros((1, 1), np.int32)
    for aliases, expected in (("first", 0.0), ("max", 0.75)):
        table = SimilarityTable(vectors, classes=["tree,dog"], attributes=["red"], aliases=aliases)
        semantic, _ = table.semantic(["dog"], np.zeros(1, np.int64), ids, ids, class_weight=0.75)
        assert semantic[0, 0] == pytest.approx(expected)


boxes = st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=6
).map(lambda found: [(float(x), float(y), float(x + w), float(y + h)) for x, y, w, h in found])
vocabulary = st.lists(
    st.sampled_from(["dog", "cat", "wug", "tree,", "light.", "(red)", "t-shirt"]), min_size=1, max_size=6
)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_all_at_once_is_one_by_one(vectors, data):
    table = SimilarityTable(vectors, classes=CLASSES, attributes=ATTRIBUTES)
    images = {}
    for image_id in ("1", "2"):
        drawn = data.draw(boxes)
        ids = data.draw(st.lists(st.integers(-1, 3), min_size=len(drawn), max_size=len(drawn)))
        images[image_id] = regions(image_id, drawn, ids, ids)
    sentences = []
    for number in range(data.draw(st.integers(1, 4))):
        spoken = data.draw(vocabulary)
        text = " ".join(spoken)
        first_letters = np.cumsum([0, *(len(word) + 1 for word in spoken)]).tolist()
        words = st.integers(0, len(spoken) - 1)
        pointers = [
            Pointer(
                start=first_letters[min(span)],
                end=first_letters[max(span) + 1] - 1,
                boxes_xyxy=tuple(data.draw(boxes)),
                image=data.draw(st.integers(0, 1)),
            )
            for span in data.draw(st.lists(st.tuples(words, words), max_size=3))
        ]
        sentences.append(sentence(text, *pointers, sentence_id=str(number), image_ids=("1", "2")))
    together = measure_criteria(sentences, images, table)
    for each, alone in zip(together, sentences, strict=True):
        words = each.words
        boxed = [pointer for pointer in alone.pointers if pointer.boxes_xyxy]
        seen = set()
        for row in range(len(words)):
            start, end, image = int(words.starts[row]), int(words.ends[row]), int(words.images[row])
            seen.add((start, end, image))
            around = [p for p in alone.pointers if p.image == image and p.start <= start and end <= p.end]
            there = images[str(image + 1)]
            count = len(there.boxes_xyxy)
            gold = [box for pointer in around for box in pointer.boxes_xyxy]
            assert words.position[row, :count] == pytest.approx(
                pairwise_iou(gold, there.boxes_xyxy).max(axis=0), abs=5e-4
            )
            names = [CLASSES[i] if i >= 0 else "wug" for i in there.class_ids]
            kinds = [ATTRIBUTES[i] if i >= 0 else "wug" for i in there.attribute_ids]
            phrase = [alone.text[start:end]]
            expected = 0.75 * vectors.similarity(phrase, names)[0] + 0.25 * vectors.similarity(phrase, kinds)[0]
            assert words.semantic[row, :count] == pytest.approx(expected[0], abs=6e-4)
            assert not words.position[row, count:].any()
            assert not words.semantic[row, count:].any()
        assert len(seen) == len(words)
        assert each.pointer_position.shape == (len(boxed), words.position.shape[1])
        for row, pointer in zip(each.pointer_position, boxed, strict=True):
            there = images[str(pointer.image + 1)]
            count = len(there.boxes_xyxy)
            own = pairwise_iou(pointer.boxes_xyxy, there.boxes_xyxy).max(axis=0)
            assert row[:count] == pytest.approx(own, abs=5e-4)
            assert not row[count:].any()
