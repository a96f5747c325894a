"""One alignment worker, without Ray: what it makes of records that no reader foresaw, and what it looks up."""

import numpy as np
import pytest

from annotations.datasets.coco import CocoImage
from annotations.guards.drops import DataError
from annotations.splits import SplitRules
from annotations.vectors.lookup import read_word_vectors
from detectors.records import RegionFeatures
from pipeline.alignment.drop_reasons import ANOTHERS_NUMBER, NO_REGIONS, OTHER_SIZE
from pipeline.alignment.shard_task import AlignSettings, AlignTask
from pipeline.alignment.worker import AlignWorker
from pipeline.inputs.identity import identity_of_store
from pipeline.inputs.loaded import OtherInputsError
from stores.errors import DamagedFileError
from stores.formats.sentence_columns import MAX_ID_BYTES
from stores.manifest import DropCount, read_manifest
from stores.numbering import Numbering
from tests.stores.builders import make_store

GOOD = {
    "place": "captions.json",
    "split": "train",
    "image": ("a", 200, 100, "9"),
    "category": "",
    "annotation": {"id": 1, "caption": "A dog."},
}


def caption(**changes):
    return GOOD | {"image": CocoImage(*GOOD["image"])} | changes


@pytest.fixture
def worker(tmp_path):
    record = RegionFeatures(
        image_id="COCO_val2014_000000000009",
        image_width=100,
        image_height=50,
        boxes_xyxy=np.array([[0, 0, 50, 50]], np.float32),
        features=np.zeros((1, 4), np.float16),
        class_ids=np.zeros(1, np.int32),
        class_scores=np.ones(1, np.float32),
        attribute_ids=np.full(1, -1, np.int32),
        attribute_scores=np.zeros(1, np.float32),
        selection="given",
    )
    make_store(tmp_path / "regions", [[record]])
    (tmp_path / "vectors.txt").write_text("dog 1 0\ncat 0 1\n")
    (tmp_path / "out").mkdir()

    def worker(inputs=None, **options):
        return AlignWorker(
            AlignSettings(
                images=tmp_path / "regions",
                vectors=read_word_vectors(tmp_path / "vectors.txt"),
                classes=["dog"],
                attributes=["brown"],
                inputs={"regions": identity_of_store(read_manifest(tmp_path / "regions"))}
                if inputs is None
                else inputs,
                configuration={},
                store="arrow",
                out=tmp_path / "out",
                splits=SplitRules(),
                **options,
            )
        )

    return worker


def make(worker, *records, drops=()):
    return worker.make_shard(
        AlignTask(name="shard-00-x-00000", data_set="coco-captions", records=records, drops=drops)
    ).entry


def test_an_image_is_found_under_any_name_of_its_photograph(worker):
    entry = make(worker(), caption())
    assert (entry.rows, entry.drops) == (1, ())


@pytest.mark.parametrize("record", [{}, {"annotation": 7}, 7, None, [], caption(image=None), caption(annotation={})])
def test_a_record_that_no_reader_foresaw_is_counted_and_the_others_are_made(worker, record):
    entry = make(worker(), record, caption())
    assert entry.rows == 1
    (drop,) = entry.drops
    assert drop.count == 1
    assert drop.reason.startswith(("record: ", "annotation: "))


def test_what_was_dropped_while_reading_is_kept_with_the_shard(worker):
    read = DropCount(reason="image: size is not positive", count=3, first="captions.json")
    entry = make(worker(), caption(), caption(annotation={"id": 1}), drops=(read,))
    assert entry.rows == 1
    assert [(drop.reason, drop.count) for drop in entry.drops] == [
        ("annotation: caption is missing", 1),
        ("image: size is not positive", 3),
    ]


def test_an_id_that_is_there_twice_or_too_long_is_counted(worker):
    entry = make(worker(), caption(), caption(), caption(annotation={"id": "x" * 600, "caption": "A dog."}))
    assert entry.rows == 1
    assert {drop.reason for drop in entry.drops} == {
        "sentence: id is there twice",
        f"sentence: id is not 1 to {MAX_ID_BYTES} UTF-8 bytes",
    }


def test_a_strict_worker_ends_at_the_first_drop(worker):
    with pytest.raises(DataError, match="caption is missing"):
        make(worker(strict=True), caption(annotation={"id": 1}))
    with pytest.raises(DataError, match="TypeError"):
        make(worker(strict=True), None)


def test_a_worker_that_opens_other_regions_than_the_run_does_not_begin(worker):
    found = identity_of_store(read_manifest(worker()._settings.images))["sha256"]
    with pytest.raises(OtherInputsError, match=f"regions.sha256 was 'of others', this worker read '{found}'"):
        worker({"regions": identity_of_store(read_manifest(worker()._settings.images)) | {"sha256": "of others"}})


def test_regions_that_are_replaced_after_a_worker_opened_them_are_not_read(worker):
    begun = worker()
    (shard,) = begun._settings.images.glob("shard-*.arrow")
    shard.write_bytes(shard.read_bytes() + bytes(64))
    with pytest.raises(DamagedFileError, match="as the manifest has it"):
        make(begun, caption())


REGIONS = RegionFeatures(
    image_id="9",
    image_width=200,
    image_height=100,
    boxes_xyxy=np.array([[0, 0, 50, 50]], np.float32),
    features=np.zeros((1, 4), np.float16),
    class_ids=np.zeros(1, np.int32),
    class_scores=np.ones(1, np.float32),
    attribute_ids=np.full(1, -1, np.int32),
    attribute_scores=np.zeros(1, np.float32),
    selection="given",
)


@pytest.mark.parametrize(
    ("image", "numbering", "joined_by", "reason"),
    [
        (CocoImage("COCO_train2014_000000000009", 200, 100, "9"), {"ids": {"coco"}}, "coco_number", ""),
        (CocoImage("COCO_train2014_000000000009", 200, 100, "9"), {"ids": {"visual-genome"}}, "", ANOTHERS_NUMBER),
        (CocoImage("COCO_train2014_000000000009", 200, 100, "9"), {}, "", ANOTHERS_NUMBER),
        (CocoImage("COCO_train2014_000000000010", 200, 100, "10"), {"ids": {"coco"}}, "", NO_REGIONS),
        (CocoImage("9", 200, 100), {"ids": {"coco"}}, "", ANOTHERS_NUMBER),
        (CocoImage("9", 200, 100), {"ids": {"own"}}, "id", ""),
        (CocoImage("9", 200, 100), {"ids": {"own", "flickr30k"}, "is_certain": False}, "number", ""),
        (CocoImage("9", 200, 100), {"ids": {"own"}, "by_size": True}, "size", ""),
        (CocoImage("9", 400, 200), {"ids": {"own"}, "by_size": True}, "", OTHER_SIZE),
    ],
)
def test_by_which_rule_an_image_was_joined_is_counted_and_why_not(
    worker, tmp_path, image, numbering, joined_by, reason
):
    make_store(tmp_path / "regions", [[REGIONS]])
    given = Numbering(**numbering | {"ids": frozenset(numbering.get("ids", ()))})
    entry = make(worker(numbering=given), caption(image=image))
    joins = {name: count for name, count in entry.counts.items() if name.startswith("joined")}
    assert joins == ({f"joined_by_{joined_by}": 1} if joined_by else {})
    assert [drop.reason for drop in entry.drops] == ([reason] if reason else [])


def test_an_image_of_another_size_than_annotated_is_counted(worker, tmp_path):
    make_store(tmp_path / "regions", [[REGIONS]])
    entry = make(worker(numbering=Numbering(ids=frozenset({"own"}))), caption(image=CocoImage("9", 400, 200)))
    joins = {name: count for name, count in entry.counts.items() if name.startswith("joined")}
    assert (entry.rows, joins) == (1, {"joined_by_id": 1, "joined_resized": 1})


def test_a_record_over_which_workers_die_is_counted_and_ends_a_strict_run(worker):
    deadly = caption(annotation={"id": 2, "caption": "A brown dog."})
    task = AlignTask(name="shard-00-x-00000", data_set="coco-captions", records=[caption(), deadly])
    begun = worker()
    for part in task.parts():
        begun.try_part(part)  # which is what a worker may die of
    left = task.gently().without({1: "its worker died 3 times"})
    entry = begun.make_shard(left).entry
    assert entry.rows == 1
    (drop,) = entry.drops
    assert (drop.reason, drop.count) == ("record: its worker died 3 times", 1)
    assert drop.first == "coco-captions, shard-00-x-00000, record 1"
    with pytest.raises(DataError, match=r"record 1: record: its worker died 3 times; expected records"):
        worker(strict=True).make_shard(left)


def test_each_record_over_which_workers_die_is_counted_for_its_own_reason():
    task = AlignTask(name="shard-0", data_set="coco-captions", records=["a", "b", "c", "d", "e"])
    left = task.without({0: "out of memory", 2: "died", 4: "out of memory"})
    assert left.records == ["b", "d"]
    assert [(drop.reason, drop.count, drop.first.rpartition(", ")[2]) for drop in left.fatal] == [
        ("record: died", 1, "record 2"),
        ("record: out of memory", 2, "record 0"),
    ]
