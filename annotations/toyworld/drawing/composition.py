"""Composes one scene: things are chosen, painted, put in place, and written down as they came out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from annotations.toyworld.drawing.backgrounds import BACKGROUNDS
from annotations.toyworld.drawing.images import draw
from annotations.toyworld.drawing.stage import MIN_VISIBLE, Group, Stage, Thing
from annotations.toyworld.phrases import caption_scene, describe_objects
from annotations.toyworld.relations import find_relations
from annotations.toyworld.scene import Scene
from annotations.toyworld.vocabulary import CATEGORIES, COLOURS, PATTERNS, SIZES

T = TypeVar("T")

IMAGE_SIZES = (*((320, 240),) * 5, (240, 320), (320, 320), (400, 300), (360, 240))
MIN_OBJECTS, MAX_OBJECTS = 3, 8
ARRANGED_SHARE = 0.3  # of the groups tried, those with one thing on or in another
CROWDED_SHARE = 0.4  # of the groups tried, those that may hide more of others than OVERLAP_ALLOWED
OVERLAP_ALLOWED = 0.06
GROUPS_TRIED = 40
SPOTS_TRIED = 12
EDGE = 3  # pixels that stay free along the image's edges


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A scene and its pixels."""

    scene: Scene
    pixels_rgb: NDArray[np.uint8]
    """uint8 [H, W, 3]; red, green, blue."""


def compose(seed: int, image_id: int) -> Picture:
    """Return image `image_id` of world `seed`; it does not depend on how many others are made."""
    rng = np.random.default_rng([seed, image_id])
    width, height = IMAGE_SIZES[int(rng.integers(len(IMAGE_SIZES)))]
    background = _choose(tuple(BACKGROUNDS), rng)
    stage = Stage(np.empty((height, width, 3), np.uint8))
    BACKGROUNDS[background].paint(stage.pixels_rgb, rng)
    _fill_stage(stage, rng)
    objects = stage.objects()
    relations = find_relations(
        [thing.box_xywh for thing in objects], longer_side=max(width, height), arranged=stage.arranged
    )
    scene = Scene(
        image_id=image_id,
        width=width,
        height=height,
        background=background,
        objects=objects,
        relations=relations,
        descriptions=describe_objects(objects, relations, rng),
        captions=caption_scene(objects, relations, BACKGROUNDS[background].phrase, rng),
    )
    return Picture(scene=scene, pixels_rgb=stage.pixels_rgb)


def _fill_stage(stage: Stage, rng: np.random.Generator) -> None:
    height, width = stage.pixels_rgb.shape[:2]
    wanted = int(rng.integers(MIN_OBJECTS, MAX_OBJECTS + 1))
    tried = 0
    # A crowded stage may end with fewer than wanted; three small things always find their places.
    while len(stage.things) < MIN_OBJECTS or (len(stage.things) < wanted and tried < GROUPS_TRIED):
        tried += 1
        is_pair = wanted - len(stage.things) >= 2 and rng.random() < ARRANGED_SHARE
        group = (_choose_pair if is_pair else _choose_single)(min(width, height), rng)
        overlap_allowed = 1 - MIN_VISIBLE if rng.random() < CROWDED_SHARE else OVERLAP_ALLOWED
        highest_left, highest_top = width - EDGE - group.width, height - EDGE - group.height
        for _ in range(SPOTS_TRIED if min(highest_left, highest_top) >= EDGE else 0):
            left, top = int(rng.integers(EDGE, highest_left + 1)), int(rng.integers(EDGE, highest_top + 1))
            if stage.place(group, left, top, overlap_allowed=overlap_allowed):
                break


def _choose_single(shorter_side: int, rng: np.random.Generator) -> Group:
    # What pairs bring anyway gets fewer chances alone, so that no category is rare.
    chances = np.array([1 if kind.holds else 4 - len(kind.goes) for kind in CATEGORIES.values()])
    category = tuple(CATEGORIES)[int(rng.choice(len(CATEGORIES), p=chances / chances.sum()))]
    thing = _paint(category, _choose(tuple(SIZES), rng), shorter_side, rng)
    return Group(things=(thing,), corners=((0, 0),))


def _choose_pair(shorter_side: int, rng: np.random.Generator) -> Group:
    """Return a holder and something smaller on it or in it."""
    holder_category = _choose(tuple(name for name, kind in CATEGORIES.items() if kind.holds), rng)
    predicate, hold_y = str(CATEGORIES[holder_category].holds), CATEGORIES[holder_category].hold_y
    held_category = _choose(tuple(name for name, kind in CATEGORIES.items() if predicate in kind.goes), rng)
    holder_size, held_size = _choose((("large", "medium"), ("large", "small"), ("medium", "small")), rng)
    holder = _paint(holder_category, holder_size, shorter_side, rng)
    held = _paint(held_category, held_size, shorter_side, rng, upright=predicate == "on")
    # What stands on a surface is seen whole, in front of it; of what is in a basket the upper part looks out.
    seen_share = 1.0 if predicate == "on" else rng.uniform(0.58, 0.7)
    x = holder.sprite.unit_x + rng.uniform(0.36, 0.64) * holder.sprite.unit_side - held.sprite.width / 2
    y = holder.sprite.unit_y + hold_y * holder.sprite.unit_side - seen_share * held.sprite.height
    left, top = min(round(x), 0), min(round(y), 0)
    held_at, holder_at = (round(x) - left, round(y) - top), (-left, -top)
    if predicate == "on":
        return Group(things=(holder, held), corners=(holder_at, held_at), arranged=(1, "on", 0))
    return Group(things=(held, holder), corners=(held_at, holder_at), arranged=(0, "in", 1))


def _paint(category: str, size: str, shorter_side: int, rng: np.random.Generator, *, upright: bool = False) -> Thing:
    kind = CATEGORIES[category]
    smallest, largest = SIZES[size]
    colour, pattern = _choose(tuple(COLOURS), rng), _choose(PATTERNS, rng)
    sprite = draw(
        category=category,
        colour=colour,
        pattern=pattern,
        side=round(rng.uniform(smallest, largest) * shorter_side),
        mirrored=kind.mirrors and rng.random() < 0.5,
        tilt_degrees=0 if upright else float(rng.uniform(-1, 1)) * kind.max_tilt_degrees,
    )
    return Thing(category=category, colour=colour, pattern=pattern, size=size, sprite=sprite)


def _choose(items: Sequence[T], rng: np.random.Generator) -> T:
    return items[int(rng.integers(len(items)))]
