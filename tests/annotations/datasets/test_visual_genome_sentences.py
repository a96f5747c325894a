"""Visual Genome's words: files that do not list the same images, boxes and ids that are no good, published lists."""

import json
import tracemalloc

import pytest

from annotations.datasets.catalog import DATA_SETS
from annotations.guards.drops import Drops

CLOCK = {"name": "clock", "object_id": 5, "x": 10, "y": 10, "w": 40, "h": 50}
NOTHING = CLOCK | {"object_id": 6, "w": 0}


def write(folder, **files):
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def read(name, folder):
    drops = Drops()
    return list(DATA_SETS[name].read_sentences(folder, drops=drops)), drops


def region(number, **changes):
    return {"region_id": number, "x": 1, "y": 2, "width": 60, "height": 70, "phrase": "the clock is green"} | changes


def graph(number, *objects):
    span = {"entity_idx_start": 4, "entity_idx_end": 9, "entity_name": "clock"}
    return {"region_id": number, "objects": objects, "synsets": [span]}


def question(number, *objects):
    return {"qa_id": number, "question": "Is the clock green?", "answer": "Yes.", "q_objects": objects}


def relationship(number, subject, other):
    return {"relationship_id": number, "predicate": "ON", "subject": subject, "object": other}


@pytest.mark.parametrize("lacking", ["region_graphs", "question_answers"])
def test_memory_does_not_grow_when_a_file_lacks_an_image(lacking, tmp_path):
    peaks = {}
    for num_images in (30, 150):
        files = {
            "region_graphs": [
                {"image_id": n, "regions": [graph(50 * n + m, CLOCK) for m in range(30)]} for n in range(num_images)
            ],
            "question_answers": [
                {"id": n, "qas": [question(50 * n + m, CLOCK) for m in range(30)]} for n in range(num_images)
            ],
        }
        del files[lacking][0]
        regions = [{"id": n, "regions": [region(50 * n + m) for m in range(30)]} for n in range(num_images)]
        write(tmp_path, region_descriptions=regions, **files)
        tracemalloc.start()
        for number, record in enumerate(DATA_SETS["visual-genome"].read_records(tmp_path, drops=Drops())):
            assert bool(record["graphs"] and record["questions"]) == (number > 0)
        peaks[num_images] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert (peaks[150] - peaks[30]) / 120 < 2000  # an image's id; its records would be 20,000


def test_an_object_without_area_is_counted_wherever_it_is(tmp_path):
    write(
        tmp_path,
        region_descriptions=[{"id": 1, "regions": [region(7)]}],
        region_graphs=[{"image_id": 1, "regions": [graph(7, NOTHING)]}],
        question_answers=[{"id": 1, "qas": [question(8, NOTHING)]}],
        relationships=[{"image_id": 1, "relationships": [relationship(9, CLOCK, NOTHING)]}],
    )
    (description, asked), drops = read("visual-genome", tmp_path)
    assert [len(description.pointers), asked.pointers[0].boxes_xyxy] == [1, ()]
    assert drops.counts == {
        "region graph: box has no area inside the image": 1,
        "question: object's box has no area inside the image": 1,
    }
    (related,), drops = read("visual-genome-relationships", tmp_path)
    assert [each.boxes_xyxy for each in related.pointers] == [((10, 10, 50, 60),), ()]
    assert drops.counts == {"relationship: box has no area inside the image": 1}
    assert "relationship '9'" in drops.first["relationship: box has no area inside the image"]


def test_ids_that_are_there_twice_count_once(tmp_path):
    write(
        tmp_path,
        region_descriptions=[{"id": 1, "regions": [region(7), region(7)]}],
        question_answers=[{"id": 1, "qas": [question(8), question(8)]}],
        relationships=[{"image_id": 1, "relationships": [relationship(9, CLOCK, CLOCK)] * 2}],
    )
    sentences, drops = read("visual-genome", tmp_path)
    assert [each.sentence_id for each in sentences] == ["7", "qa8"]
    assert drops.counts == {"region: id is there twice": 1, "question: id is there twice": 1}
    sentences, drops = read("visual-genome-relationships", tmp_path)
    assert [each.sentence_id for each in sentences] == ["1-r9"]
    assert drops.counts == {"relationship: id is there twice": 1}


@pytest.mark.parametrize(
    ("size", "reason"),
    [
        ({"width": "800", "height": 600}, "image: width is not a number"),
        ({"height": 600}, "image: width is missing"),
        ({"width": -800, "height": 600}, "image: size is not positive"),
    ],
)
def test_an_image_without_a_proper_size_is_still_a_photograph_of_coco(size, reason, tmp_path):
    write(
        tmp_path,
        region_descriptions=[{"id": 1, "regions": [region(7, x=-5)]}],
        image_data=[{"image_id": 1, "coco_id": 9} | size],
    )
    (description,), drops = read("visual-genome", tmp_path)
    (image,) = description.images
    assert (image.width, image.height, image.coco_id) == (0, 0, "9")
    assert description.pointers[0].boxes_xyxy == ((-5, 2, 55, 72),)
    assert drops.counts == {reason: 1}


@pytest.mark.parametrize("line", ["1", "VG_100K_2/1.jpg xml/1.xml"])
def test_lists_of_splits_are_ids_or_the_published_paths(line, tmp_path):
    write(tmp_path, region_descriptions=[{"id": 1, "regions": [region(7)]}, {"id": 2, "regions": [region(8)]}])
    (tmp_path / "val.txt").write_text(f"{line}\n")
    sentences, _ = read("visual-genome", tmp_path)
    assert [each.split for each in sentences] == ["val", "train"]
    evaluated = DATA_SETS["visual-genome"].evaluation_images(tmp_path, drops=Drops())
    assert [each.image_id for each in evaluated] == ["1"]


def test_beside_a_list_of_training_images_what_no_list_has_is_left_out_and_counted(tmp_path):
    said = [{"region_id": 1, "phrase": "shade", "x": 0, "y": 0, "width": 5, "height": 5}]
    content = [{"id": image_id, "regions": [said[0] | {"region_id": image_id}]} for image_id in (1, 2, 3)]
    (tmp_path / "region_descriptions.json").write_text(json.dumps(content))
    (tmp_path / "val.txt").write_text("2\n")

    def splits():
        drops = Drops()
        read = DATA_SETS["visual-genome"].read_sentences(tmp_path, drops=drops)
        return {each.image_ids[0]: each.split for each in read}, drops.counts

    assert splits() == ({"1": "train", "2": "val", "3": "train"}, {})
    (tmp_path / "train.txt").write_text("1\n")
    assert splits() == ({"1": "train", "2": "val"}, {"image: in no list of a split": 1})
