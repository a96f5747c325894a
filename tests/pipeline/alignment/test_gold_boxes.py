"""Boxes of annotations and of stores, as `vinculum extract --boxes` takes them."""

import json
from pathlib import Path

import numpy as np
import pytest

from annotations.datasets.catalog import DATA_SETS
from annotations.guards.drops import DataError, Drops
from annotations.toyworld.world import write_toy_world
from pipeline.cli import main
from pipeline.commands.boxes import BoxesCommand
from pipeline.extraction.given_boxes import read_given_boxes
from stores.reading import open_store


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("world")
    write_toy_world(folder, num_images=6, seed=0)
    return folder


def write(world, out, *names, **options):
    sources = tuple(f"{name}={world / name.replace('-', '_')}" for name in names)
    return BoxesCommand(annotations=sources, out=out, **options).run()


def test_every_box_that_a_sentence_points_at_is_there_once(world, tmp_path):
    out = tmp_path / "boxes.json"
    result = write(world, out, "flickr30k-entities")
    found = json.loads(out.read_text())
    expected = {}
    for sentence in DATA_SETS["flickr30k-entities"].read_sentences(world / "flickr30k_entities", drops=Drops()):
        for pointer in sentence.pointers:
            for box in pointer.boxes_xyxy:
                expected.setdefault(sentence.image_ids[0], set()).add(box)
    assert {image_id: {tuple(box) for box in boxes} for image_id, boxes in found.items()} == expected
    assert result.summary["boxes"] == sum(map(len, expected.values())) == sum(map(len, found.values()))
    assert result.summary["images"] == len(expected)


@pytest.mark.parametrize(("name", "layout"), [("refcoco", "refcoco"), ("gqa", "gqa")])
def test_boxes_of_an_image_are_all_its_annotated_objects_whoever_is_asked_for(name, layout, world, tmp_path):
    out = tmp_path / "boxes.json"
    write(world, out, name)
    found = {image_id: {tuple(box) for box in boxes} for image_id, boxes in json.loads(out.read_text()).items()}
    pointed, annotated = {}, {}
    for sentence in DATA_SETS[name].read_sentences(world / layout, drops=Drops()):
        for pointer in (*sentence.pointers, *sentence.answer_pointers):
            pointed.setdefault(sentence.image_ids[0], set()).update(pointer.boxes_xyxy)
    for sentence in DATA_SETS["coco-instances"].read_sentences(world / "coco", drops=Drops()):
        annotated.setdefault(sentence.image_ids[0], set()).update(sentence.pointers[0].boxes_xyxy)
    with_boxes = {image_id for image_id, boxes in pointed.items() if boxes}
    assert set(found) == with_boxes
    for image_id in with_boxes & set(annotated):
        assert found[image_id] == annotated[image_id]
    num_unasked = sum(len(found[image_id] - pointed[image_id]) for image_id in found)
    assert num_unasked > 0.1 * sum(map(len, found.values()))


def test_the_order_of_boxes_does_not_tell_which_are_asked_for(tmp_path):
    import pickle

    folder = tmp_path / "refcoco"
    folder.mkdir()
    annotations = [
        {"id": number, "image_id": 9, "category_id": 1, "bbox": [10 * number, 0, 10, 10], "iscrowd": int(number == 5)}
        for number in range(6)
    ]
    image = {"id": 9, "file_name": "COCO_train2014_000000000009.jpg", "width": 100, "height": 50}
    content = {"images": [image], "annotations": annotations, "categories": [{"id": 1, "name": "dog"}]}
    (folder / "instances.json").write_text(json.dumps(content))
    ref = {
        "ref_id": 1,
        "ann_id": 3,
        "image_id": 9,
        "split": "testA",
        "sentences": [{"sent_id": 1, "sent": "the dog", "raw": "the dog"}],
    }
    (folder / "refs(unc).p").write_bytes(pickle.dumps([ref], protocol=2))
    result = BoxesCommand(annotations=(f"refcoco={folder}",), out=tmp_path / "boxes.json").run()
    (boxes,) = json.loads((tmp_path / "boxes.json").read_text()).values()
    assert boxes == [[10 * number, 0, 10 * number + 10, 10] for number in range(5)]
    assert result.summary == {
        "images": 1, "boxes": 5, "drops": {"annotation: a crowd": 1}, "out": str(tmp_path / "boxes.json")
    }  # fmt: skip


def test_extract_reads_what_was_written_and_the_whole_image_comes_first(world, tmp_path):
    out = tmp_path / "boxes.json"
    write(world, out, "flickr30k-entities", "refcoco", whole_image=True)
    for boxes in read_given_boxes(out).boxes_of.values():
        assert boxes[0].tolist()[:2] == [0, 0]
        assert (boxes[1:, 2:] <= boxes[0, 2:]).all()


def test_a_source_without_boxes_is_refused(world, tmp_path):
    with pytest.raises(DataError, match="no sentence points at a box"):
        BoxesCommand(annotations=(f"coco-captions={world / 'coco'}",), out=tmp_path / "boxes.json").run()
    assert not (tmp_path / "boxes.json").exists()


def test_a_data_set_that_there_is_not_is_refused(world, tmp_path):
    with pytest.raises(ValueError, match="refclef: no such data set; expected one of coco-captions"):
        write(world, tmp_path / "boxes.json", "refclef")


@pytest.mark.slow
def test_boxes_that_one_detector_found_are_described_by_another(world, tmp_path, capsys):
    def run(*arguments):
        assert main([str(each) for each in arguments]) == 0
        return capsys.readouterr().out

    images = ("--images", world / "images")
    run("extract", *images, "--weights", "toyworld", "--num-boxes", 12, "--out", tmp_path / "regions")
    assert "72 boxes of 6 images" in run("boxes", "--regions", tmp_path / "regions", "--out", tmp_path / "b.json")
    swin = ("--detector", "swin", "--weights", "random:0", "--image-size", 224, "--boxes", tmp_path / "b.json")
    run("extract", *images, *swin, "--out", tmp_path / "described")
    with open_store(tmp_path / "regions") as found, open_store(tmp_path / "described") as described:
        for one, other in zip(found, described, strict=True):
            assert other.features.shape == (12, 768) and other.selection == "given"
            np.testing.assert_array_equal(one.boxes_xyxy, other.boxes_xyxy)


@pytest.mark.parametrize(
    "options", [{}, {"annotations": ("a=b",), "regions": Path("c")}, {"regions": Path("c"), "whole_image": True}]
)
def test_boxes_come_from_one_place(tmp_path, options):
    with pytest.raises(ValueError, match="expected --annotations, with or without --whole-image, or --regions alone"):
        BoxesCommand(out=tmp_path / "b.json", **options).run()
