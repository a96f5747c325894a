"""COCO's damage, and its instances as detectors want them; captions and instances as sentences are in test_readers."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from annotations.datasets.catalog import DATA_SETS
from annotations.datasets.coco import (
    read_caption_records,
    read_images,
    read_instance_records,
    to_captions,
    to_instances,
)
from annotations.guards.drops import DataError, Drops
from annotations.splits import make_split_rules

DATA = Path(os.environ.get("VINCULUM_TEST_DATA", "../shared/data"))

IMAGES = [
    {"id": 9, "file_name": "000000000009.jpg", "width": 640, "height": 480},
    {"id": 25, "file_name": "000000000025.jpg", "width": 640, "height": 426},
]
CATEGORIES = [{"id": 10, "name": "traffic light"}, {"id": 44, "name": "Bowl"}]


def instance(number, image_id=9, category_id=10, bbox=(10, 20, 30, 40), **further):
    return {
        "id": number,
        "image_id": image_id,
        "category_id": category_id,
        "bbox": list(bbox),
        "iscrowd": 0,
        "segmentation": [],
    } | further


def instances_file(folder, *annotations, images=IMAGES, categories=CATEGORIES):
    path = folder / "instances_train2017.json"
    path.write_text(json.dumps({"annotations": annotations, "categories": categories, "images": images}))
    return path


def sentences_of(path, drops):
    return [each for record in read_instance_records(path, drops=drops) for each in to_instances(record, drops=drops)]


def test_every_instance_is_a_sentence_about_its_image_that_points_at_its_box(tmp_path):
    path = instances_file(
        tmp_path, instance(1), instance(2, image_id=25, category_id=44), instance(3, bbox=(0, 0, 9, 9))
    )
    drops = Drops()
    first, bowl, last = sentences_of(path, drops)
    assert not drops.counts
    assert [each.image_ids for each in (first, bowl, last)] == [("000000000009",), ("000000000025",), ("000000000009",)]
    assert (first.images[0].width, first.images[0].height) == (640, 480)
    assert [each.pointers[0].object_id for each in (first, bowl, last)] == ["1", "2", "3"]
    assert [each.pointers[0].boxes_xyxy for each in (first, last)] == [((10, 20, 40, 60),), ((0, 0, 9, 9),)]
    assert bowl.text == "Bowl"


def test_crowds_and_bad_boxes_are_no_objects(tmp_path):
    path = instances_file(
        tmp_path,
        instance(1, iscrowd=1),
        instance(2, bbox=(600, 20, 90, 40)),
        instance(3, bbox=(700, 20, 90, 40)),
        instance(4, bbox=(10, 20, -30, 40)),
        instance(5, bbox=(10, 20, 30)),
        instance(6, bbox=(10, "20", 30, 40)),
    )
    drops = Drops()
    (sentence,) = sentences_of(path, drops)
    assert sentence.pointers[0].boxes_xyxy == ((600, 20, 640, 60),)
    assert drops.counts == {
        "annotation: a crowd": 1,
        "annotation: box has no area inside the image": 2,
        "annotation: bbox is not four numbers": 2,
    }
    reason = "annotation: box has no area inside the image"
    assert drops.first[reason] == f"{path}: annotation 3: found [700, 20, 90, 40] in 640 x 480"


def test_a_number_beyond_all_numbers_is_an_error_that_names_the_file(tmp_path):
    path = instances_file(tmp_path, instance(1))
    path.write_text(path.read_text().replace("[10, 20", "[10, 1e999"))
    with pytest.raises(DataError, match=r"instances_train2017.json: not valid JSON"):
        sentences_of(path, Drops())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bbox=st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4))
def test_a_box_is_inside_its_image_or_counted(tmp_path, bbox):
    drops = Drops()
    sentences = sentences_of(instances_file(tmp_path, instance(1, bbox=bbox)), drops)
    assert len(sentences) + sum(drops.counts.values()) == 1
    for sentence in sentences:
        x1, y1, x2, y2 = sentence.pointers[0].boxes_xyxy[0]
        assert 0 <= x1 < x2 <= 640
        assert 0 <= y1 < y2 <= 480


def test_instances_need_a_category_that_the_file_names(tmp_path):
    drops = Drops()
    assert not sentences_of(instances_file(tmp_path, instance(1), categories=[]), drops)
    assert drops.counts == {"annotation: unknown category id": 1}
    path = instances_file(tmp_path, instance(1), categories=[{"id": 10}])
    drops = Drops()
    assert not sentences_of(path, drops)
    assert drops.counts == {"category: name is missing": 1, "annotation: unknown category id": 1}


def test_an_image_that_is_there_twice_counts_once(tmp_path):
    path = instances_file(tmp_path, images=[*IMAGES, IMAGES[0] | {"width": 1}])
    drops = Drops()
    assert [each.width for each in read_images(path, drops=drops)] == [640, 640]
    assert drops.first == {"image: id is there twice": f"{path}: image 2: found id '9'"}


@pytest.mark.parametrize("width", [0, -640, 1e300])
def test_an_image_of_a_size_that_none_has_is_counted_with_its_annotations(tmp_path, width):
    drops = Drops()
    assert not sentences_of(instances_file(tmp_path, instance(1), images=[IMAGES[0] | {"width": width}]), drops)
    assert drops.counts == {"image: size is not that of an image": 1, "annotation: unknown image id": 1}


def test_captions_of_an_image_need_not_be_neighbours(tmp_path):
    path = tmp_path / "captions_val2017.json"
    captions = [{"id": i, "image_id": image_id, "caption": f"Caption {i} "} for i, image_id in enumerate((9, 25, 9))]
    path.write_text(json.dumps({"annotations": captions, "images": IMAGES}))
    records = read_caption_records(path, drops=Drops())
    sentences = [each for record in records for each in to_captions(record, drops=Drops())]
    assert [each.sentence_id for each in sentences] == ["000000000009#0", "000000000025#1", "000000000009#2"]
    assert [each.text for each in sentences] == ["Caption 0", "Caption 1", "Caption 2"]


@pytest.mark.parametrize("lacking", ["images", "annotations", "categories"])
def test_a_file_without_one_of_its_arrays_is_an_error_that_names_both(tmp_path, lacking):
    path = instances_file(tmp_path, instance(1))
    content = json.loads(path.read_text())
    del content[lacking]
    path.write_text(json.dumps(content))
    with pytest.raises(DataError, match=f"instances_train2017.json: no array '{lacking}'"):
        sentences_of(path, Drops())


@pytest.mark.skipif(not (DATA / "coco").is_dir(), reason=f"{DATA} holds no coco")
def test_the_real_instances_are_those_of_their_readme():
    drops = Drops()
    sentences = sentences_of(DATA / "coco", drops)
    assert len({each.image_ids for each in sentences}) == 249
    assert len(sentences) + drops.counts["annotation: a crowd"] == 2105
    assert drops.counts == {"annotation: a crowd": 22}


def write_captions(path, images):
    """Write captions of these images, two each, whose ids are those of the photographs, as COCO's are in every year."""
    path.parent.mkdir(parents=True, exist_ok=True)
    records = [{"id": number, "file_name": name, "width": 640, "height": 480, **more} for number, name, more in images]
    captions = [
        {"id": 10 * record["id"] + which, "image_id": record["id"], "caption": "a red tractor"}
        for record in records
        for which in range(2)
    ]
    path.write_text(json.dumps({"images": records, "annotations": captions}))
    return path


def test_a_number_is_cocos_only_where_a_name_or_a_url_says_so(tmp_path):
    url = {"coco_url": "http://images.cocodataset.org/train2017/000000000025.jpg"}
    path = write_captions(
        tmp_path / "captions_train.json",
        [
            (9, "0013ea2087020901.jpg", {}),
            (42, "sub/dir/42.jpg", {}),
            (25, "twenty-five.jpg", url),
            (1, "train2017/000000000030.jpg", {}),
        ],
    )
    sentences = list(DATA_SETS["coco-captions"].read_sentences(path, drops=Drops()))
    images = {each.images[0].image_id: (each.images[0].coco_id, each.images[0].ids) for each in sentences}
    assert images == {
        "0013ea2087020901": ("", "own"),
        "42": ("", "own"),
        "twenty-five": ("25", "coco"),
        "000000000030": ("30", "coco"),
    }


def test_images_of_ones_own_hold_none_of_cocos_out(tmp_path):
    own = write_captions(tmp_path / "own/captions_val.json", [(9, "0013ea2087020901.jpg", {})])
    official = write_captions(tmp_path / "captions_train2017.json", [(9, "000000000009.jpg", {})])
    data_set = DATA_SETS["coco-captions"]
    rules = make_split_rules(data_set.evaluation_images(own, drops=Drops()))
    assert {rules.split_of(each) for each in data_set.read_sentences(official, drops=Drops())} == {"train"}


@pytest.mark.parametrize("name", ["coco-captions", "coco-instances"])
def test_two_releases_of_the_same_annotations_are_refused(tmp_path, name):
    kind = name.removeprefix("coco-")
    for release in ("train2014", "val2014", "train2017", "val2017"):
        write_captions(tmp_path / f"annotations/{kind}_{release}.json", [(9, "000000000009.jpg", {})])
    data_set = DATA_SETS[name]
    with pytest.raises(DataError, match=rf"{kind}_train2014.json and .*{kind}_train2017.json: two releases"):
        list(data_set.read_records(tmp_path, drops=Drops()))
    files = [tmp_path / f"annotations/{kind}_{release}.json" for release in ("train2017", "val2017")]
    data_set.check(files)  # what the error advises: one year's files, each for itself
    data_set.check([files[1], tmp_path / f"annotations/{kind}_train2014.json"])  # nothing is in both
    for other in ("val2014", "minival2014"):
        write_captions(tmp_path / f"annotations/{kind}_{other}.json", [(9, "000000000009.jpg", {})])
        with pytest.raises(DataError, match="two releases"):
            data_set.check([*files, tmp_path / f"annotations/{kind}_{other}.json"])


def test_a_release_and_a_part_of_it_are_refused(tmp_path):
    files = [
        write_captions(tmp_path / f"captions_{release}.json", [(9, "000000000009.jpg", {})])
        for release in ("val2014", "minival2014", "valminusminival2014")
    ]
    with pytest.raises(DataError, match="two releases"):
        DATA_SETS["coco-captions"].check(files)
    DATA_SETS["coco-captions"].check(files[1:])
