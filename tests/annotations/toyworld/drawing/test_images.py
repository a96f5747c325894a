import numpy as np
import pytest

from annotations.toyworld.drawing.images import PICTURES, draw
from annotations.toyworld.vocabulary import CATEGORIES, COLOURS, PATTERNS


def drawn(category, colour="red", pattern="plain", side=60, mirrored=False, tilt_degrees=0.0):
    return draw(
        category=category, colour=colour, pattern=pattern, side=side, mirrored=mirrored, tilt_degrees=tilt_degrees
    )


def test_there_is_a_picture_of_every_category():
    assert sorted(PICTURES) == sorted(CATEGORIES)
    assert len(CATEGORIES) >= 12
    assert len(COLOURS) >= 8


@pytest.mark.parametrize("category", sorted(PICTURES))
def test_a_sprite_is_cut_out_tightly(category):
    for tilt_degrees in (-CATEGORIES[category].max_tilt_degrees, 0, CATEGORIES[category].max_tilt_degrees):
        mask = drawn(category, side=73, tilt_degrees=tilt_degrees).mask
        assert mask[0].any()
        assert mask[-1].any()
        assert mask[:, 0].any()
        assert mask[:, -1].any()


@pytest.mark.parametrize("category", sorted(PICTURES))
def test_a_picture_stays_within_its_unit_square(category):
    sprite = drawn(category, side=100)
    # An ink line's half width may stand out.
    assert -3 <= -sprite.unit_x <= sprite.width - sprite.unit_x <= 103
    assert -3 <= -sprite.unit_y <= sprite.height - sprite.unit_y <= 103
    assert max(sprite.width, sprite.height) >= 75


@pytest.mark.parametrize("category", sorted(PICTURES))
def test_parts_show_in_other_tones_than_the_body(category):
    sprite = drawn(category, colour="blue", side=90)
    inside = sprite.colour[sprite.cover == 1]
    # Saturated blue is the body; what is far from it is ink, glass, wood ...
    others = np.abs(inside - np.array(COLOURS["blue"])).max(axis=1) > 60
    assert 0.1 < others.mean() < 0.9


@pytest.mark.parametrize("category", sorted(PICTURES))
def test_a_thing_has_more_of_its_own_hue_than_of_any_other(category):
    # Black, white and brown are left out: ink, canvas and wood are parts of many things.
    hues = sorted(set(COLOURS) - {"black", "white", "brown"})
    palette = np.array([COLOURS[hue] for hue in hues], np.float32)
    for hue in hues:
        sprite = drawn(category, colour=hue, side=90)
        inside = sprite.colour[sprite.cover == 1]
        vivid = inside[np.ptp(inside, axis=1) > 60]
        nearest = np.abs(vivid[:, None] - palette).sum(axis=2).argmin(axis=1)
        assert hues[np.bincount(nearest, minlength=len(hues)).argmax()] == hue


@pytest.mark.parametrize("pattern", PATTERNS)
def test_patterns_differ_but_not_in_their_outline(pattern):
    plain, other = drawn("mug"), drawn("mug", pattern=pattern)
    np.testing.assert_array_equal(plain.mask, other.mask)
    assert (np.abs(plain.colour - other.colour).max() > 100) == (pattern != "plain")


def test_a_mirrored_thing_faces_the_other_way():
    plain, mirrored = drawn("car"), drawn("car", mirrored=True)
    assert abs(plain.width - mirrored.width) <= 1
    agreement = (plain.mask[:, : mirrored.width] == mirrored.mask[:, : plain.width][:, ::-1]).mean()
    assert agreement > 0.97
