"""What the driver deals to workers: the same sentences, however large the shards are."""

import json
from dataclasses import replace

import numpy as np
import pytest

from annotations.guards.drops import Drops
from annotations.splits import SplitRules
from annotations.vectors.lookup import read_word_vectors
from detectors.records import RegionFeatures
from pipeline.alignment.align import align, look_ahead
from pipeline.alignment.annotation_sources import AnnotationSource
from pipeline.alignment.drop_reasons import REPEATED
from pipeline.alignment.given import open_regions
from pipeline.alignment.job import AlignmentJob
from pipeline.alignment.numbering import BEFORE
from pipeline.alignment.shard_task import AlignSettings, BakeOptions
from pipeline.alignment.tasks import align_tasks
from pipeline.alignment.worker import AlignWorker
from pipeline.inputs.identity import identity_of_store
from stores.manifest import read_manifest
from tests.stores.builders import make_store

IMAGES = ("100", "101", "102", "103")


def region(image_id):
    return RegionFeatures(
        image_id=image_id,
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


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("tasks")
    make_store(place / "regions", [[region(image_id) for image_id in IMAGES]])
    (place / "vectors.txt").write_text("dog 1 0\ncat 0 1\n")
    return place


def made(place, sources, shard_size):
    """Return the rows and the drops of all shards, by reason."""
    entries, drops = shards(place, sources, shard_size), {}
    for drop in (drop for entry in entries for drop in entry.drops):
        drops[drop.reason] = drops.get(drop.reason, 0) + drop.count
    return sum(entry.rows for entry in entries), drops


def shards(place, sources, shard_size):
    """Return the manifest's entries of all shards."""
    out = place / f"out-{shard_size}-{len(list(place.iterdir()))}"
    out.mkdir()
    job = AlignmentJob(
        annotations=tuple(AnnotationSource(name=name, path=path) for name, path in sources),
        out=out,
        shard_size=shard_size,
    )
    worker = AlignWorker(
        AlignSettings(
            images=place / "regions",
            vectors=read_word_vectors(place / "vectors.txt"),
            classes=["dog"],
            attributes=["brown"],
            inputs={"regions": identity_of_store(read_manifest(place / "regions"))},
            configuration={},
            store="arrow",
            out=out,
            splits=SplitRules(),
            numbering=BEFORE,
        )
    )
    return [worker.make_shard(task).entry for task in align_tasks(job, finished=())]


def nameless_regions(place):
    """A store of what a grid's detector gives at given boxes: regions without any name."""
    unnamed = [replace(region(image_id), class_ids=np.full(1, -1, np.int32)) for image_id in IMAGES]
    names = {"detector": {"vocabulary": {"classes": [], "attributes": []}}}
    make_store(place / "nameless", [unnamed], configuration=names)
    return place / "nameless"


def test_a_combination_that_compares_names_is_refused_of_regions_without_names(place, hypotheses, tmp_path):
    job = AlignmentJob(
        annotations=(AnnotationSource(name="snli-ve", path=hypotheses),),
        regions=nameless_regions(tmp_path),
        vectors=place / "vectors.txt",
        out=tmp_path / "out",
        ids="own",
    )
    for combination in ("code", "paper", "semantic-only"):
        with pytest.raises(ValueError, match=r"none of the 4 regions .* expected --bake position-only, or --nameless"):
            align(replace(job, bake=BakeOptions(combination=combination)))
    assert not (tmp_path / "out").exists()
    for allowed in (  # what the message advises is taken
        replace(job, bake=BakeOptions(combination="position-only")),
        replace(job, bake=BakeOptions(combination="code"), nameless="allow"),
        job,
    ):
        assert open_regions(allowed, Drops()).classes == []


def test_regions_without_names_are_counted_with_their_shard(place, hypotheses):
    (entry,) = shards(place, [("snli-ve", hypotheses)], 8192)
    assert entry.counts["regions_without_attribute"] == entry.counts["regions"] == 4
    assert (entry.counts["regions_without_class"], entry.counts["regions_without_names"]) == (0, 0)


def pair(pair_id, image_id, label="neutral"):
    return {"pairID": pair_id, "Flikr30kID": image_id, "sentence2": "A man sleeps.", "gold_label": label}


@pytest.fixture(scope="module")
def hypotheses(tmp_path_factory):
    """Pairs of which some have the id of another: in their file, in another file, or of one that has no label."""
    folder = tmp_path_factory.mktemp("snli")
    for name, pairs in {
        "dev": [pair("a", "100", "entailment"), pair("b", "100", "-"), pair("c", "101")],
        "test": [pair("a", "100", "entailment"), pair("d", "102"), pair("d", "102"), pair("b", "100")],
        "train": [pair("e", "103"), pair("c", "100"), pair("f", "100")],
    }.items():
        (folder / f"snli_ve_{name}.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in pairs))
    return folder


def test_a_store_has_the_same_sentences_at_any_size_of_its_shards(place, hypotheses):
    results = [made(place, [("snli-ve", hypotheses)], size) for size in (1, 2, 3, 8192)]
    assert results == [results[0]] * 4
    rows, drops = results[0]
    assert rows == 5  # a, c, d, e, f
    assert drops[REPEATED] == 3  # a and b of test, c of train
    assert drops["pair: pairID is there twice"] == 1


def test_two_sources_of_one_data_set_are_counted_as_one_folder_is(place, hypotheses):
    files = [("snli-ve", file) for file in sorted(hypotheses.iterdir())]
    assert made(place, files, 2) == made(place, [("snli-ve", hypotheses)], 2)


def test_of_an_image_listed_twice_the_sentences_with_new_ids_stay(place, tmp_path):
    for name, sentences in {"mscoco_train": ["A dog."], "mscoco_nominival": ["A cat.", "A red cat."]}.items():
        (tmp_path / f"{name}.json").write_text(json.dumps([{"img_id": "100", "sentf": {"mscoco": sentences}}]))
    for size in (1, 8192):
        assert made(place, [("lxmert-json", tmp_path)], size) == (2, {REPEATED: 1})


def test_descriptions_of_regions_that_are_there_twice_are_left_out_before_they_are_merged(place, tmp_path):
    regions = [
        {"region_id": number, "phrase": f"dog {number}", "x": 0, "y": 0, "width": 9, "height": 9} for number in range(3)
    ]
    content = [{"id": 100, "regions": regions}, {"id": 101, "regions": [*regions[:2], regions[0] | {"region_id": 7}]}]
    (tmp_path / "region_descriptions.json").write_text(json.dumps(content))
    results = [made(place, [("visual-genome", tmp_path)], size) for size in (1, 8192)]
    assert results[0] == results[1]
    assert results[0][1] == {REPEATED: 2}


def test_parts_of_a_task_know_which_of_their_ids_were_there(hypotheses, tmp_path):
    sources = (AnnotationSource(name="snli-ve", path=hypotheses),)
    (task,) = align_tasks(AlignmentJob(annotations=sources, out=tmp_path), finished=())
    repeated = {each.records[0]["place"]: each.repeated[0] for each in task.parts() if each.repeated[0]}
    assert sorted(place.rpartition("/")[2] for place in repeated) == [
        "snli_ve_test.jsonl, line 1",
        "snli_ve_test.jsonl, line 4",
        "snli_ve_train.jsonl, line 2",
    ]
    left = task.without({0: "workers died", 3: "workers died"})
    assert {left.records[number]["place"]: ids for number, ids in left.repeated.items()} == {
        place: ids for place, ids in repeated.items() if not place.endswith("test.jsonl, line 1")
    }


def test_a_dry_run_tells_what_is_left_and_writes_nothing(hypotheses, tmp_path):
    unaligned = AlignmentJob(
        annotations=(AnnotationSource(name="snli-ve", path=hypotheses),),
        regions=nameless_regions(tmp_path),
        vectors=tmp_path / "vectors.txt",
        out=tmp_path / "out",
        ids="own",
        shard_size=2,
    )
    (tmp_path / "vectors.txt").write_text("dog 1 0\ncat 0 1\n")
    outlook = look_ahead(unaligned)
    assert outlook.num_shards == outlook.num_shards_left == len(list(align_tasks(unaligned, finished=()))) > 1
    assert outlook.num_bytes_left is None
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="no such data set"):
        look_ahead(replace(unaligned, annotations=(AnnotationSource(name="snli", path=hypotheses),)))


@pytest.mark.slow
def test_a_dry_run_of_a_finished_store_has_nothing_to_do(hypotheses, tmp_path):
    job = AlignmentJob(
        annotations=(AnnotationSource(name="snli-ve", path=hypotheses),),
        regions=nameless_regions(tmp_path),
        vectors=tmp_path / "vectors.txt",
        out=tmp_path / "out",
        ids="own",
        shard_size=2,
        workers=1,
    )
    (tmp_path / "vectors.txt").write_text("dog 1 0\ncat 0 1\n")
    made = align(job)
    outlook = look_ahead(job)
    assert (outlook.num_shards, outlook.num_shards_left, outlook.num_bytes_left) == (made.num_shards, 0, 0)
