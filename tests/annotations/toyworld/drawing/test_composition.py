from collections import Counter

import numpy as np
import pytest

from annotations.toyworld.drawing.composition import IMAGE_SIZES, Picture, compose
from annotations.toyworld.vocabulary import ATTRIBUTES, CATEGORIES, PREDICATES


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    return [compose(11, image_id) for image_id in range(1, 81)]


def test_a_picture_depends_on_seed_and_image_id_only():
    first, again = compose(5, 17), compose(5, 17)
    np.testing.assert_array_equal(first.pixels_rgb, again.pixels_rgb)
    assert first.scene == again.scene
    assert compose(5, 18).scene.objects != first.scene.objects
    assert compose(6, 17).scene.objects != first.scene.objects


def test_scenes_have_3_to_8_objects_and_every_number_occurs(pictures):
    assert {len(picture.scene.objects) for picture in pictures} == {3, 4, 5, 6, 7, 8}


def test_every_category_attribute_predicate_and_image_size_occurs(pictures):
    scenes = [picture.scene for picture in pictures]
    categories = Counter(thing.category for scene in scenes for thing in scene.objects)
    assert set(categories) == set(CATEGORIES)
    assert min(categories.values()) >= 8
    assert {word for scene in scenes for thing in scene.objects for word in thing.attributes} == set(ATTRIBUTES)
    assert {relation.predicate for scene in scenes for relation in scene.relations} == set(PREDICATES)
    assert {(scene.width, scene.height) for scene in scenes} == set(IMAGE_SIZES)


def test_boxes_lie_inside_the_image_and_nothing_is_hidden_by_more_than_70_percent(pictures):
    for scene in (picture.scene for picture in pictures):
        for thing in scene.objects:
            x, y, width, height = thing.box_xywh
            assert 0 <= x < x + width <= scene.width
            assert 0 <= y < y + height <= scene.height
            assert min(width, height) >= 20
            assert 0.3 < thing.visible_fraction <= 1


def test_some_things_overlap_and_most_are_seen_whole(pictures):
    visible = [thing.visible_fraction for picture in pictures for thing in picture.scene.objects]
    assert 0.1 < np.mean(np.array(visible) < 0.95) < 0.5


def test_outlines_touch_all_four_sides_of_the_box(pictures):
    for thing in (thing for picture in pictures for thing in picture.scene.objects):
        corners = np.concatenate([np.reshape(outline, (-1, 2)) for outline in thing.outlines])
        x, y, width, height = thing.box_xywh
        # Outlines run through pixel centres and are simplified by at most a pixel.
        np.testing.assert_allclose(corners.min(axis=0), (x, y), atol=1)
        np.testing.assert_allclose(corners.max(axis=0), (x + width - 1, y + height - 1), atol=1)
        assert 0 < thing.area <= width * height


def test_the_picture_shows_the_colour_inside_the_box():
    seen = 0
    for image_id in range(1, 40):
        picture = compose(3, image_id)
        for thing in picture.scene.objects:
            if thing.colour != "red" or thing.visible_fraction < 1:
                continue
            x, y, width, height = thing.box_xywh
            red, green, blue = np.moveaxis(picture.pixels_rgb[y : y + height, x : x + width].astype(int), 2, 0)
            assert np.mean((red > 140) & (green < 100) & (blue < 110)) > 0.03, (image_id, thing.category)
            seen += 1
    assert seen > 5


def test_what_is_on_something_stands_above_it_and_what_is_in_it_looks_out(pictures):
    for scene in (picture.scene for picture in pictures):
        for relation in scene.relations:
            if relation.predicate not in ("on", "in"):
                continue
            held, holder = scene.objects[relation.subject], scene.objects[relation.object]
            held_x, held_y, held_width, held_height = held.box_xywh
            x, y, width, height = holder.box_xywh
            assert x < held_x + held_width / 2 < x + width
            assert y < held_y + held_height < y + height
            assert CATEGORIES[holder.category].holds == relation.predicate
            assert (relation.subject > relation.object) == (relation.predicate == "on")  # in front of, or behind


def test_every_fifth_image_is_for_validation():
    assert [compose(0, image_id).scene.split for image_id in (1, 4, 5, 9, 10)] == [
        "train",
        "train",
        "val",
        "train",
        "val",
    ]
