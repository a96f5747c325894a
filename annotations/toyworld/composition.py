"""Composes one scene: things are painted, put in place, and written down as they came out."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from annotations.toyworld.backgrounds import BACKGROUNDS
from annotations.toyworld.brush import Sprite
from annotations.toyworld.drawing import draw
from annotations.toyworld.phrases import caption_scene, describe_objects
from annotations.toyworld.relations import find_relations
from annotations.toyworld.scene import Scene, SceneObject
from annotations.toyworld.vocabulary import CATEGORIES, COLOURS, PATTERNS, SIZES

T = TypeVar("T")

IMAGE_SIZES = (*((320, 240),) * 5, (240, 320), (320, 320), (400, 300), (360, 240))
MIN_OBJECTS, MAX_OBJECTS = 3, 8
ARRANGED_SHARE = 0.3  # of the groups tried, those with one thing on or in another
CROWDED_SHARE = 0.4  # of the groups tried, those that may hide more of others than OVERLAP_ALLOWED
OVERLAP_ALLOWED = 0.06
MIN_VISIBLE = 0.45  # where a thing would be hidden more than this, the newcomer goes elsewhere
GROUPS_TRIED = 40
SPOTS_TRIED = 12
EDGE = 3  # pixels that stay free along the image's edges

NOTHING = -1


@dataclass(frozen=True, kw_only=True, eq=False)
class Picture:
    """A scene and its pixels."""

    scene: Scene
    pixels_rgb: NDArray[np.uint8]
    """uint8 [H, W, 3]; red, green, blue."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Thing:
    """One thing, painted, not yet anywhere."""

    category: str
    colour: str
    pattern: str
    size: str
    sprite: Sprite


@dataclass(frozen=True, kw_only=True, eq=False)
class Group:
    """Things that keep their places relative to one another, from back to front."""

    things: tuple[Thing, ...]
    corners: tuple[tuple[int, int], ...]
    """x, y of each thing's upper left corner; pixels, the smallest of each is 0."""
    arranged: tuple[int, str, int] | None = None
    """Of two things: which one is `on` or `in` which."""

    @property
    def width(self) -> int:
        return max(x + thing.sprite.width for thing, (x, _) in zip(self.things, self.corners, strict=True))

    @property
    def height(self) -> int:
        return max(y + thing.sprite.height for thing, (_, y) in zip(self.things, self.corners, strict=True))


class Stage:
    """A picture in the making, which knows what is still visible of everything on it."""

    def __init__(self, pixels_rgb: NDArray[np.uint8]) -> None:
        self.pixels_rgb = pixels_rgb
        self.things: list[Thing] = []
        self.corners: list[tuple[int, int]] = []
        self.arranged: dict[tuple[int, int], str] = {}
        self._owner = np.full(pixels_rgb.shape[:2], NOTHING, np.int16)
        self._areas: list[int] = []
        self._visible = np.zeros(0, np.int64)

    def place(self, group: Group, left: int, top: int, *, overlap_allowed: float) -> bool:
        """Put the group there and return True, unless it would hide too much; then nothing changes."""
        owner = self._owner.copy()
        for index, (thing, (x, y)) in enumerate(zip(group.things, group.corners, strict=True), len(self.things)):
            sprite = thing.sprite
            owner[top + y : top + y + sprite.height, left + x : left + x + sprite.width][sprite.mask] = index
        areas = [*self._areas, *(int(thing.sprite.mask.sum()) for thing in group.things)]
        visible = np.bincount(owner[owner != NOTHING], minlength=len(areas))
        lost = (self._visible - visible[: len(self.things)]) / np.array(self._areas)
        if np.any(lost > overlap_allowed) or np.any(visible < MIN_VISIBLE * np.array(areas)):
            return False
        if group.arranged is not None:
            subject, predicate, other = group.arranged
            self.arranged[subject + len(self.things), other + len(self.things)] = predicate
        for thing, (x, y) in zip(group.things, group.corners, strict=True):
            _cast_shadow(self.pixels_rgb, thing.sprite, left + x, top + y)
            _blend(self.pixels_rgb, thing.sprite.cover, thing.sprite.colour, left + x, top + y)
            self.things.append(thing)
            self.corners.append((left + x, top + y))
        self._owner, self._areas, self._visible = owner, areas, visible
        return True

    def objects(self) -> tuple[SceneObject, ...]:
        """Return what stands on the stage, from back to front."""
        return tuple(
            SceneObject(
                category=thing.category,
                colour=thing.colour,
                pattern=thing.pattern,
                size=thing.size,
                box_xywh=(x, y, thing.sprite.width, thing.sprite.height),
                outlines=_outlines(thing.sprite.mask, x, y),
                area=area,
                visible_fraction=float(visible / area),
            )
            for thing, (x, y), area, visible in zip(self.things, self.corners, self._areas, self._visible, strict=True)
        )


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
    # What pairs bring anyway gets fewer chances alone, so that all categories become about equally frequent.
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


def _cast_shadow(pixels_rgb: NDArray[np.uint8], sprite: Sprite, left: int, top: int) -> None:
    """Darken what lies below and to the right of the sprite, softly."""
    reach = max(2, sprite.unit_side // 20)
    shade = cv2.copyMakeBorder(sprite.cover, *(2 * reach,) * 4, cv2.BORDER_CONSTANT, value=0)
    shade = 0.3 * cv2.GaussianBlur(shade, (0, 0), reach / 2)
    _blend(pixels_rgb, shade, np.zeros((1, 1, 3), np.float32), left - reach, top - reach + reach // 2)


def _blend(
    pixels_rgb: NDArray[np.uint8], cover: NDArray[np.float32], colour: NDArray[np.float32], left: int, top: int
) -> None:
    """Lay `colour`, already multiplied by `cover`, over the picture; what falls outside is cut off."""
    height, width = pixels_rgb.shape[:2]
    cut_left, cut_top = max(-left, 0), max(-top, 0)
    cover = cover[cut_top : height - top, cut_left : width - left]
    if colour.shape[:2] != (1, 1):
        colour = colour[cut_top : height - top, cut_left : width - left]
    target = pixels_rgb[top + cut_top : top + cut_top + len(cover), left + cut_left : left + cut_left + cover.shape[1]]
    target[:] = (target * (1 - cover[:, :, None]) + colour + 0.5).astype(np.uint8)


def _outlines(mask: NDArray[np.bool_], left: int, top: int) -> tuple[tuple[int, ...], ...]:
    contours, _ = cv2.findContours(
        mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE, offset=(left, top)
    )
    simplified = [cv2.approxPolyDP(contour, 1.0, True) for contour in contours]
    return tuple(tuple(int(value) for value in polygon.ravel()) for polygon in simplified if len(polygon) >= 3)


def _choose(items: Sequence[T], rng: np.random.Generator) -> T:
    return items[int(rng.integers(len(items)))]
