"""The stage: things are put on it one group after another, and it knows what is still visible of each."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from annotations.toyworld.drawing.brush import Sprite
from annotations.toyworld.scene import SceneObject

MIN_VISIBLE = 0.45  # where a thing would be hidden more than this, the newcomer goes elsewhere
NOTHING = -1


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
    """Two things and which one is `on` or `in` which."""

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
