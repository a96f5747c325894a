"""Boxes of annotations and of stores, as `vinculum extract --boxes` takes them."""

import json
from pathlib import Path

import numpy as np
import pytest

from annotations.datasets.catalog import DATA_SETS
from annotations.drops import DataError, Drops
from annotations.toyworld.world import write_toy_world
from pipeline.boxes_command import BoxesCommand
from pipeline.cli import main
from pipeline.given_boxes import read_given_boxes
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
