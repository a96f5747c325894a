"""Sentence shards: what goes in comes out, in every kind of store; what is damaged is named."""

import json
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.alignment.sentences import AlignedSentences, PointedWords, num_boxed_pointers
from annotations.records import Answer, Pointer, Sentence, SentenceError, SentenceImage
from stores.catalog import STORES
from stores.errors import DamagedFileError, StoreError
from stores.formats import arrow
from stores.formats.region_columns import write_description
from stores.formats.sentence_columns import BATCH_SENTENCES
from stores.manifest import Manifest, describe_shard, write_manifest
from stores.sentence_reading import open_sentences
from tests.stores.builders import make_regions, make_store
from tests.stores.version_one import make_shard_old
from tests.stores.version_two import OLD_STORES, make_sentence_shard_old

CONFIGURATION = {"vectors": {"sha256": "abc"}}
names = pytest.mark.parametrize("name", STORES)
old_names = pytest.mark.parametrize("name", OLD_STORES)


def make_sentence(sentence_id, *, num_images=1, pointers=(), **more):
    return Sentence(
        sentence_id=sentence_id,
        images=tuple(
            SentenceImage(image_id=f"image-{number}", width=640, height=480, coco_id=str(number) if number else "")
            for number in range(num_images)
        ),
        text="A man, a dog é and the sea 🐕.",
        source="test",
        split="val",
        pointers=pointers,
        **more,
    )


def align(sentences, *, num_boxes=(3,), baked=False, seed=0):
    """Return the sentences with two made-up words each."""
    rng = np.random.default_rng(seed)
    num_words = 2 * len(sentences)
    rows = [rng.random((num_words, max(num_boxes, default=0))).astype(np.float16) for _ in range(3)]
    flags = [rng.random(num_words) < 0.5 for _ in range(3)]
    return AlignedSentences(
        sentences=sentences,
        num_boxes=[(*num_boxes, 1)[: len(sentence.images)] for sentence in sentences],
        words=PointedWords(
            starts=np.arange(num_words, dtype=np.int32),
            ends=np.arange(num_words, dtype=np.int32) + 1,
            images=np.zeros(num_words, np.int32),
            in_answer=flags[0],
            oov=flags[1],
            position=rows[0],
            semantic=rows[1],
            targets=rows[2] if baked else None,
            supervised=flags[2] if baked else None,
        ),
        word_offsets=np.arange(len(sentences) + 1, dtype=np.int64) * 2,
        pointer_position=rng.random((sum(map(num_boxed_pointers, sentences)), rows[0].shape[1])).astype(np.float16),
    )


def assert_same(found, expected):
    assert found.sentence == expected.sentence
    assert found.num_boxes == expected.num_boxes
    for name, want in (vars(expected.words) | {"pointer_position": expected.pointer_position}).items():
        have = found.pointer_position if name == "pointer_position" else getattr(found.words, name)
        assert (have is None) == (want is None), name
        if want is not None:
            assert (have.dtype, have.shape, have.tobytes()) == (want.dtype, want.shape, want.tobytes()), name


RICH = make_sentence(
    "a#0",
    num_images=2,
    pointers=(
        Pointer(start=0, end=5, boxes_xyxy=((1.5, 2, 3, 4), (5, 6, 7, 8)), object_id="17", category="people"),
        Pointer(start=7, end=12, boxes_xyxy=(), object_id="18", image=1),
    ),
    answers=(Answer(text="the sea", weight=0.5), Answer(text="sea", weight=0.25)),
    answer_pointers=(Pointer(start=4, end=7, boxes_xyxy=((0, 0, 9, 9),), image=1),),
    details={"question_id": 458752000, "entailed": ["1", "2"], "types": {"structural": "query"}, "note": "</script>"},
)


@names
@pytest.mark.parametrize("baked", [False, True])
def test_what_goes_in_comes_out(name, baked, tmp_path):
    batches = [
        align([RICH, make_sentence("a#1")], num_boxes=(3, 2), baked=baked),
        align([make_sentence("b"), make_sentence("é")], num_boxes=(36,), baked=baked, seed=1),
        align([make_sentence("ü")], num_boxes=(0,), baked=baked),
    ]
    path = tmp_path / f"shard-x{STORES[name].suffix}"
    assert STORES[name].write_sentences(path, iter(batches), configuration=CONFIGURATION) == 5
    with STORES[name].open_shard(path) as shard:
        assert list(shard.row_ids) == ["a#0", "a#1", "b", "é", "ü"]
        assert shard.description.content == "sentences"
        assert shard.description.configuration == CONFIGURATION
        for row, expected in enumerate(each for batch in batches for each in batch):
            assert_same(shard.read_sentence(row), expected)


@names
def test_training_reads_the_pointers_that_have_boxes(name, tmp_path):
    aligned = align([RICH, make_sentence("b")], num_boxes=(3, 2))
    path = tmp_path / f"shard-x{STORES[name].suffix}"
    STORES[name].write_sentences(path, [aligned], configuration=CONFIGURATION)
    with STORES[name].open_shard(path) as shard:
        phrases, none = (shard.read_for_training(row).phrases for row in range(2))
    assert (phrases.starts.tolist(), phrases.ends.tolist()) == ([0, 4], [5, 7])
    assert (phrases.images.tolist(), phrases.in_answer.tolist()) == ([0, 1], [False, True])
    assert phrases.position.tolist() == aligned.pointer_position.tolist()
    assert (none.starts.shape, none.in_answer.shape, none.position.shape) == ((0,), (0,), (0, 3))


@old_names
@pytest.mark.parametrize("baked", [False, True])
@pytest.mark.parametrize("make_old", [make_sentence_shard_old, make_shard_old])
def test_a_shard_of_an_older_version_has_all_but_the_pointers_criteria(name, baked, make_old, tmp_path):
    aligned = align([RICH, make_sentence("b")], num_boxes=(3, 2), baked=baked)
    path = tmp_path / f"shard-x{STORES[name].suffix}"
    STORES[name].write_sentences(path, [aligned], configuration=CONFIGURATION)
    make_old(path)
    with STORES[name].open_shard(path) as shard:
        for row, expected in enumerate(aligned):
            assert_same(shard.read_sentence(row), replace(expected, pointer_position=None))
            assert shard.read_for_training(row).phrases is None
        assert shard.description.configuration == CONFIGURATION


@old_names
def test_a_store_may_hold_shards_of_all_versions(name, tmp_path):
    entries = []
    for number, make_old in enumerate((None, make_sentence_shard_old, make_shard_old)):
        path = tmp_path / f"shard-{number}{STORES[name].suffix}"
        STORES[name].write_sentences(path, [align([RICH])], configuration={})
        if make_old:
            make_old(path)
        entries.append(describe_shard(path, 1))
    write_manifest(tmp_path, Manifest(content="sentences", store=name, configuration={}, shards=tuple(entries)))
    with open_sentences(tmp_path) as store:
        assert [each.pointer_position is None for each in store] == [False, True, True]
        assert [store.read_for_training(shard, 0).phrases is None for shard in range(3)] == [False, True, True]


@pytest.mark.parametrize(("content", "version"), [("regions", 2), ("grid", 2), ("sentences", 3)])
def test_only_sentences_have_the_newest_schema_version(content, version):
    assert json.loads(write_description(content, CONFIGURATION))["schema_version"] == version


@names
def test_equal_sentences_give_equal_bytes(name, tmp_path):
    for path in (tmp_path / "one", tmp_path / "two"):
        STORES[name].write_sentences(path, [align([RICH])], configuration=CONFIGURATION)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@names
@pytest.mark.parametrize("baked", [False, True])
@pytest.mark.parametrize("num_rows", [0, 1, BATCH_SENTENCES + 3])
def test_a_copy_of_another_configuration_has_the_bytes_that_writing_its_sentences_gives(
    name, baked, num_rows, tmp_path
):
    sentences = [make_sentence(f"{number:04d}", pointers=RICH.pointers[:1]) for number in range(num_rows)]
    parts = [sentences[first : first + BATCH_SENTENCES] for first in range(0, num_rows, BATCH_SENTENCES)]
    batches = [align(part, baked=baked) for part in parts]
    other = {"vectors": {"sha256": "of others"}}
    STORES[name].write_sentences(tmp_path / "one", batches, configuration=CONFIGURATION)
    STORES[name].write_sentences(tmp_path / "other", batches, configuration=other)
    with STORES[name].open_shard(tmp_path / "one") as shard:
        assert shard.copy_sentences(tmp_path / "one", configuration=other) == num_rows
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


@names
def test_a_shard_may_be_empty(name, tmp_path):
    path = tmp_path / "empty"
    assert STORES[name].write_sentences(path, [], configuration=CONFIGURATION) == 0
    with STORES[name].open_shard(path) as shard:
        assert list(shard.row_ids) == []


@names
@pytest.mark.parametrize("ids", [["b", "a"], ["a", "a"], [""], ["x" * 512], ["\ud800"], ["\0vinculum"]], ids=ascii)
def test_ids_that_no_store_can_hold_are_refused(name, ids, tmp_path):
    with pytest.raises(StoreError, match="expected ids of 1 to 511 UTF-8 bytes"):
        STORES[name].write_sentences(tmp_path / "x", [align([make_sentence(each) for each in ids])], configuration={})
    assert list(tmp_path.iterdir()) == []


def test_an_arrow_shard_opens_without_our_code(tmp_path):
    path = tmp_path / "shard.arrow"
    arrow.write_sentences(path, [align([RICH])], configuration=CONFIGURATION)
    table = pa.ipc.open_file(str(path)).read_all()
    assert table["text"][0].as_py() == RICH.text
    assert table["position"][0].values.to_numpy().reshape(2, -1).shape == (2, 3)
    assert table["targets"][0].as_py() is None
    assert json.loads(table["details"][0].as_py())["question_id"] == 458752000


text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@settings(deadline=None, max_examples=40)
@given(ids=st.lists(text.filter(lambda each: each[0] != "\0"), unique=True, max_size=5), data=st.data())
def test_any_text_survives(ids, data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    sentences = [
        Sentence(
            sentence_id=each,
            images=(SentenceImage(image_id=data.draw(text)),),
            text=data.draw(text),
            source=data.draw(text),
            split="test",
            answers=(Answer(text=data.draw(text)),),
            details={"any": data.draw(text)},
        )
        for each in sorted(ids)
    ]
    aligned = align(sentences, num_boxes=(2,))
    for name, store in STORES.items():
        store.write_sentences(folder / name, [aligned], configuration={})
        with store.open_shard(folder / name) as shard:
            for row, expected in enumerate(aligned):
                assert_same(shard.read_sentence(row), expected)


@names
def test_a_store_is_read_in_order_shard_by_shard(name, tmp_path):
    entries = []
    for shard in ("shard-00-a-00000", "shard-01-b-00000"):
        path = tmp_path / f"{shard}{STORES[name].suffix}"
        rows = STORES[name].write_sentences(path, [align([make_sentence("1"), make_sentence("2")])], configuration={})
        entries.append(describe_shard(path, rows))
    write_manifest(tmp_path, Manifest(content="sentences", store=name, configuration={}, shards=tuple(entries)))
    with open_sentences(tmp_path) as store:
        assert len(store) == 4
        assert [each.sentence.sentence_id for each in store] == ["1", "2", "1", "2"]
        assert store.read(1, 1).sentence.sentence_id == "2"
        assert store.image_ids([0, 1]) == {"image-0"}
        assert store.image_ids([]) == set()
    (tmp_path / entries[1].name).write_bytes(b"cut")
    with open_sentences(tmp_path) as store, pytest.raises(DamagedFileError, match="shard-01-b-00000"):
        list(store)


def test_a_store_of_regions_is_no_store_of_sentences(tmp_path):
    make_store(tmp_path, [[make_regions("a")]])
    with pytest.raises(StoreError, match="is a store of regions, expected one of sentences"):
        open_sentences(tmp_path)


@names
def test_layouts_are_the_boxes_and_names_of_the_regions(name, tmp_path):
    records = [make_regions("a", num_boxes=3), make_regions("b", num_boxes=0), make_regions("c", num_boxes=5, seed=4)]
    make_store(tmp_path, [records], store=name)
    with STORES[name].open_shard(tmp_path / f"shard-00000{STORES[name].suffix}") as shard:
        layouts = shard.read_layouts()
    assert [each.image_id for each in layouts] == ["a", "b", "c"]
    for layout, record in zip(layouts, records, strict=True):
        assert (layout.width, layout.height) == (640, 480)
        assert layout.boxes_xyxy.tobytes() == record.boxes_xyxy.tobytes()
        assert layout.class_ids.tolist() == record.class_ids.tolist()
        assert layout.attribute_ids.tolist() == record.attribute_ids.tolist()


def test_words_whose_columns_do_not_fit_are_refused():
    with pytest.raises(SentenceError, match=r"position is float16 \[2, 3\]|oov is bool \[1\]"):
        PointedWords(
            starts=np.zeros(2, np.int32),
            ends=np.zeros(2, np.int32),
            images=np.zeros(2, np.int32),
            in_answer=np.zeros(2, bool),
            oov=np.zeros(1, bool),
            position=np.zeros((2, 3), np.float16),
            semantic=np.zeros((2, 3), np.float16),
        )


@pytest.mark.parametrize("rows", [np.zeros((1, 3), np.float16), np.zeros((2, 4), np.float16), np.zeros((2, 3))])
def test_pointers_whose_criteria_do_not_fit_are_refused(rows):
    with pytest.raises(SentenceError, match=r"pointer_position is float\d\d \[\d, \d\], expected float16 \[2, 3\]"):
        replace(align([RICH]), pointer_position=rows)


@pytest.mark.parametrize("pointer", [(0, 0), (-1, 2), (3, 99)])
def test_a_pointer_outside_its_sentence_is_refused(pointer):
    with pytest.raises(SentenceError, match="sentence 's': pointer to characters"):
        make_sentence("s", pointers=(Pointer(start=pointer[0], end=pointer[1], boxes_xyxy=()),))
