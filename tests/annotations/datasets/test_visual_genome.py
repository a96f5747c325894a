import json
import os
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from annotations.datasets.visual_genome import read_objects
from annotations.guards.drops import DataError, Drops

TEST_DATA = Path(os.environ.get("VINCULUM_TEST_DATA", Path(__file__).parents[3] / "../shared/data"))

Record = dict[str, Any]


def make_object(object_id: int = 10, **changes: Any) -> Record:
    record = {"object_id": object_id, "names": ["clock"], "x": 20, "y": 30, "w": 40, "h": 50}
    return record | {"synsets": ["clock.n.01"], "merged_object_ids": []} | changes


def make_described(object_id: int = 10, **changes: Any) -> Record:
    return {"object_id": object_id, "names": ["clock"], "attributes": ["green", "tall"]} | changes


def write_folder(
    folder: Path,
    objects: dict[int, list[Record]],
    *,
    attributes: dict[int, list[Record]] | None = None,
    size: tuple[int, int] = (800, 600),
) -> Path:
    image_data = [{"image_id": image_id, "width": size[0], "height": size[1]} for image_id in objects]
    records = [{"image_id": image_id, "objects": each} for image_id, each in objects.items()]
    (folder / "image_data.json").write_text(json.dumps(image_data))
    (folder / "objects.json").write_text(json.dumps(records))
    if attributes is not None:
        described = [{"image_id": image_id, "attributes": each} for image_id, each in attributes.items()]
        (folder / "attributes.json").write_text(json.dumps(described))
    return folder


def read_one(folder: Path) -> tuple[Any, Drops]:
    drops = Drops()
    (image,) = read_objects(folder, drops=drops)
    return image, drops


def test_an_object_comes_with_its_box_names_and_attributes(tmp_path):
    objects = {1: [make_object(names=[" Clock", "Timepiece "])]}
    image, drops = read_one(write_folder(tmp_path, objects, attributes={1: [make_described(attributes=["Green "])]}))
    (thing,) = image.objects
    assert (image.image_id, image.image_width, image.image_height) == ("1", 800, 600)
    assert (thing.object_id, thing.box_xyxy) == ("10", (20.0, 30.0, 60.0, 80.0))
    assert (thing.names, thing.attributes) == (("clock", "timepiece"), ("green",))
    assert image.boxes_xyxy().tolist() == [[20, 30, 60, 80]]
    assert not drops.counts


def test_attributes_are_optional(tmp_path):
    image, drops = read_one(write_folder(tmp_path, {1: [make_object()]}))
    assert image.objects[0].attributes == ()
    assert not drops.counts


def test_an_object_that_nobody_described_has_no_attributes(tmp_path):
    described = make_described()
    del described["attributes"]
    image, drops = read_one(write_folder(tmp_path, {1: [make_object()]}, attributes={1: [described]}))
    assert image.objects[0].attributes == ()
    assert not drops.counts


def test_a_merged_object_has_the_attributes_of_both(tmp_path):
    objects = {1: [make_object(10, merged_object_ids=[11])]}
    attributes = {1: [make_described(11, attributes=["old", "green"]), make_described(10, attributes=["green"])]}
    image, drops = read_one(write_folder(tmp_path, objects, attributes=attributes))
    assert image.objects[0].attributes == ("green", "old")
    assert not drops.counts


def test_attributes_are_found_in_any_order_of_images(tmp_path):
    objects = {image_id: [make_object(image_id)] for image_id in (1, 2, 3, 4)}
    attributes = {image_id: [make_described(image_id, attributes=[f"a{image_id}"])] for image_id in (3, 1, 4, 2)}
    drops = Drops()
    images = list(read_objects(write_folder(tmp_path, objects, attributes=attributes), drops=drops))
    assert [image.image_id for image in images] == ["1", "2", "3", "4"]
    assert [image.objects[0].attributes for image in images] == [("a1",), ("a2",), ("a3",), ("a4",)]
    assert not drops.counts


def test_a_box_is_clipped_to_its_image(tmp_path):
    objects = {1: [make_object(x=-3, y=580, w=10, h=100)]}
    image, drops = read_one(write_folder(tmp_path, objects))
    assert image.objects[0].box_xyxy == (0, 580, 7, 600)
    assert not drops.counts


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"w": 0}, "object: box has no area"),
        ({"h": -5}, "object: box has no area"),
        ({"x": 800}, "object: box outside the image"),
        ({"y": -50}, "object: box outside the image"),
        ({"names": []}, "object: no name"),
        ({"names": ["  "]}, "object: no name"),
        ({"names": "clock"}, "object: names is not a list"),
        ({"names": [7]}, "object: names is not a list of strings"),
        ({"x": "20"}, "object: x is not a number"),
        ({"w": None}, "object: w is not a number"),
        ({"object_id": None}, "object: object_id is not an id"),
        ({"merged_object_ids": 11}, "object: merged_object_ids is not a list"),
        ({"object_id": 9}, "object: listed twice"),
    ],
)
def test_an_unusable_object_is_dropped_by_reason_and_the_others_stay(tmp_path, changes, reason):
    objects = {1: [make_object(9), make_object() | changes, make_object(11)]}
    image, drops = read_one(write_folder(tmp_path, objects))
    assert [thing.object_id for thing in image.objects] == ["9", "11"]
    assert drops.counts == {reason: 1}
    assert f"{tmp_path / 'objects.json'}: image '1'" in drops.first[reason]


def test_a_missing_coordinate_is_a_drop_that_names_file_image_object_and_field(tmp_path):
    broken = make_object()
    del broken["h"]
    image, drops = read_one(write_folder(tmp_path, {1: [broken]}))
    assert image.objects == ()
    where = drops.first["object: h is missing"]
    assert where.startswith(f"{tmp_path / 'objects.json'}: image '1', object 10: found fields are object_id, names, x")


def test_strict_reading_ends_at_the_first_drop(tmp_path):
    folder = write_folder(tmp_path, {1: [make_object(x="20")]})
    with pytest.raises(DataError, match=r"objects.json: image '1', object 10: found '20': object: x is not a number"):
        list(read_objects(folder, drops=Drops(strict=True)))


def test_images_of_unknown_size_are_dropped(tmp_path):
    write_folder(tmp_path, {1: [make_object()], 2: [make_object()], 3: [make_object()], 4: [make_object()]})
    sizes = [
        {"image_id": 1, "width": 800, "height": 600},
        {"image_id": 2, "width": "800", "height": 600},
        {"image_id": 3, "width": 0, "height": 600},
    ]
    (tmp_path / "image_data.json").write_text(json.dumps(sizes))
    drops = Drops()
    assert [image.image_id for image in read_objects(tmp_path, drops=drops)] == ["1"]
    assert drops.counts == {
        "image size: width is not a number": 1,
        "image size: not positive": 1,
        "image: size unknown": 3,
    }


def test_an_image_listed_twice_counts_once(tmp_path):
    write_folder(tmp_path, {1: [make_object()]})
    record = {"image_id": 1, "objects": [make_object()]}
    (tmp_path / "objects.json").write_text(json.dumps([record, record]))
    drops = Drops()
    assert len(list(read_objects(tmp_path, drops=drops))) == 1
    assert drops.counts == {"image: listed twice": 1}


def test_a_broken_image_record_does_not_end_the_reading(tmp_path):
    write_folder(tmp_path, {1: [make_object()]})
    good = {"image_id": 1, "objects": [make_object()]}
    (tmp_path / "objects.json").write_text(json.dumps([{"id": 5}, {"image_id": 6, "objects": None}, good]))
    drops = Drops()
    assert [image.image_id for image in read_objects(tmp_path, drops=drops)] == ["1"]
    assert drops.counts == {"image: image_id is missing": 1, "image: objects is not a list": 1}


def test_attributes_that_belong_nowhere_are_counted(tmp_path):
    attributes = {1: [make_described(10), make_described(99), make_described(12, attributes="green")]}
    folder = write_folder(tmp_path, {1: [make_object(10)], 2: [make_object(20)]}, attributes=attributes)
    drops = Drops()
    first, second = read_objects(folder, drops=drops)
    assert first.objects[0].attributes == ("green", "tall")
    assert second.objects[0].attributes == ()
    assert drops.counts == {
        "attributes: of an unknown object": 1,
        "attributes: attributes is not a list": 1,
        "attributes: none for an image": 1,
    }


def test_a_truncated_file_is_an_error_that_names_it(tmp_path):
    folder = write_folder(tmp_path, {1: [make_object()], 2: [make_object()]})
    text = (folder / "objects.json").read_text()
    (folder / "objects.json").write_text(text[:-20])
    with pytest.raises(DataError, match=r"objects.json: not valid JSON after 1 records"):
        list(read_objects(folder, drops=Drops()))


def test_memory_does_not_grow_with_the_number_of_images(tmp_path):
    peaks = {}
    for num_images in (50, 400):
        objects = {image_id: [make_object(number) for number in range(30)] for image_id in range(num_images)}
        attributes = {image_id: [make_described(number) for number in range(30)] for image_id in objects}
        folder = write_folder(tmp_path, objects, attributes=attributes)
        tracemalloc.start()
        assert sum(len(image.objects) for image in read_objects(folder, drops=Drops())) == 30 * num_images
        peaks[num_images] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    bytes_per_image = (peaks[400] - peaks[50]) / 350
    assert bytes_per_image < 1000  # its id and its size; its objects would be more than 20,000


@pytest.mark.skipif(not (TEST_DATA / "visual_genome").is_dir(), reason=f"no real data in {TEST_DATA}")
def test_the_official_files_are_read():
    drops = Drops()
    images = list(read_objects(TEST_DATA / "visual_genome", drops=drops))
    assert [(image.image_id, len(image.objects)) for image in images] == [("1", 31), ("2", 25), ("4", 23), ("5", 31)]
    assert drops.counts == {"image: size unknown": 11}
    sidewalk = images[0].objects[1]
    assert (sidewalk.names, sidewalk.box_xyxy) == (("sidewalk",), (78.0, 308.0, 800.0, 598.0))
