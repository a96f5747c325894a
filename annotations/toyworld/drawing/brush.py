"""A brush that paints one thing in its unit square, three times enlarged, and gives it back as a sprite."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from annotations.toyworld.vocabulary import Rgb

ENLARGEMENT = 3  # painting large and averaging down smooths edges in every direction
MARGIN = 0.2  # of the unit square, on every side: room for tilted corners
SUBPIXEL_BITS = 4
LINE = 0.022  # width of the ink line, of the unit square's side

INK: Rgb = (40, 34, 44)

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, kw_only=True, eq=False)
class Sprite:
    """A painted thing, cut out tightly."""

    colour: NDArray[np.float32]
    """float32 [H, W, 3]; red, green, blue 0-255, already multiplied by `cover`."""
    cover: NDArray[np.float32]
    """float32 [H, W]; 1 where the thing hides what is behind it, 0 where it is not."""
    unit_x: float
    """Where the unit square's left edge lies, pixels from the sprite's left edge."""
    unit_y: float
    """Where the unit square's upper edge lies, pixels from the sprite's upper edge."""
    unit_side: int
    """Side of the unit square; pixels."""

    @property
    def width(self) -> int:
        return self.cover.shape[1]

    @property
    def height(self) -> int:
        return self.cover.shape[0]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Return bool [H, W]; where the thing is."""
        return self.cover >= 0.5


class Brush:
    """Paints shapes given in the unit square (x to the right, y down); later shapes hide earlier ones."""

    def __init__(self, *, side: int, colour: Rgb, pattern: str, mirrored: bool, tilt_degrees: float) -> None:
        self.side = side
        self.tone = colour
        self.shade = _shade(colour)
        self._mirrored = mirrored
        self._scale = side * ENLARGEMENT
        turn = np.deg2rad(tilt_degrees)
        self._turn = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        edge = round(side * (1 + 2 * MARGIN)) * ENLARGEMENT
        self._canvas = np.zeros((edge, edge, 3), np.uint8)
        self._cover = np.zeros((edge, edge), np.uint8)
        self.body = self._cloth(pattern)
        """uint8 [H, W, 3]; the colour with its pattern, to fill shapes with."""

    def shape(self, points: Points, fill: Rgb | NDArray[np.uint8], *, line: float = LINE) -> None:
        """Fill a polygon and draw its edge; line 0 leaves the edge away."""
        corners = self._to_canvas(points)
        if isinstance(fill, tuple):
            cv2.fillPoly(self._canvas, [corners], fill, shift=SUBPIXEL_BITS)
        else:
            stencil = np.zeros_like(self._cover)
            cv2.fillPoly(stencil, [corners], 255, shift=SUBPIXEL_BITS)
            cv2.copyTo(fill, stencil, self._canvas)
        cv2.fillPoly(self._cover, [corners], 255, shift=SUBPIXEL_BITS)
        if line > 0:
            self._trace(corners, INK, line, closed=True)

    def oval(
        self,
        x: float,
        y: float,
        radius_x: float,
        radius_y: float,
        fill: Rgb | NDArray[np.uint8],
        *,
        turn_degrees: float = 0,
        line: float = LINE,
    ) -> None:
        """Fill an ellipse, turned clockwise."""
        self.shape(arc(x, y, radius_x, radius_y, turn_degrees=turn_degrees), fill, line=line)

    def stroke(self, points: Points, colour: Rgb, width: float, *, line: float = 0) -> None:
        """Draw an open line with round ends; with `line` it has inked edges."""
        corners = self._to_canvas(points)
        if line > 0:
            self._trace(corners, INK, width + 2 * line, closed=False)
        self._trace(corners, colour, width, closed=False)

    def sprite(self) -> Sprite:
        """Return what was painted, reduced to its true size, lit from the upper left."""
        edge = self._cover.shape[0] // ENLARGEMENT
        cover = cv2.resize(self._cover, (edge, edge), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        colour = cv2.resize(self._canvas, (edge, edge), interpolation=cv2.INTER_AREA).astype(np.float32)
        down, across = np.mgrid[0:edge, 0:edge].astype(np.float32) / edge
        colour = np.minimum(colour * (1.14 - 0.14 * across - 0.18 * down)[:, :, None], 255 * cover[:, :, None])
        rows = np.flatnonzero((cover >= 0.5).any(axis=1))
        columns = np.flatnonzero((cover >= 0.5).any(axis=0))
        cut = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        start = MARGIN * self.side
        return Sprite(
            colour=np.ascontiguousarray(colour[cut]),
            cover=np.ascontiguousarray(cover[cut]),
            unit_x=start - float(columns[0]),
            unit_y=start - float(rows[0]),
            unit_side=self.side,
        )

    def _to_canvas(self, points: Points) -> NDArray[np.int32]:
        centred = np.asarray(points, np.float64) - 0.5
        if self._mirrored:
            centred[:, 0] = -centred[:, 0]
        pixels = (centred @ self._turn + 0.5 + MARGIN) * self._scale
        return np.round(pixels * (1 << SUBPIXEL_BITS)).astype(np.int32)

    def _trace(self, corners: NDArray[np.int32], colour: Rgb, width: float, *, closed: bool) -> None:
        thickness = max(ENLARGEMENT, round(width * self._scale))
        cv2.polylines(self._canvas, [corners], closed, colour, thickness, shift=SUBPIXEL_BITS)
        cv2.polylines(self._cover, [corners], closed, 255, thickness, shift=SUBPIXEL_BITS)

    def _cloth(self, pattern: str) -> NDArray[np.uint8]:
        cloth = np.full_like(self._canvas, self.tone)
        edge = cloth.shape[0]
        step = round(0.17 * self._scale)
        figure = _figure(self.tone)
        if pattern == "striped":
            for offset in range(-edge, edge, step):
                cv2.line(cloth, (offset, edge), (offset + edge, 0), figure, round(0.26 * step))
        if pattern == "dotted":
            for row, y in enumerate(range(0, edge, step)):
                for x in range((row % 2) * step // 2, edge, step):
                    cv2.circle(cloth, (x, y), round(0.25 * step), figure, cv2.FILLED)
        return cloth


def arc(
    x: float,
    y: float,
    radius_x: float,
    radius_y: float,
    start_degrees: float = 0,
    end_degrees: float = 360,
    *,
    turn_degrees: float = 0,
) -> list[tuple[float, float]]:
    """Return points along an ellipse; 0 degrees is to the right, 90 is down."""
    steps = max(6, round(abs(end_degrees - start_degrees) / 9))
    angles = np.deg2rad(np.linspace(start_degrees, end_degrees, steps + 1))
    turn = np.deg2rad(turn_degrees)
    along, across = radius_x * np.cos(angles), radius_y * np.sin(angles)
    xs = x + along * np.cos(turn) - across * np.sin(turn)
    ys = y + along * np.sin(turn) + across * np.cos(turn)
    return list(zip(xs.tolist(), ys.tolist(), strict=True))


def _shade(colour: Rgb) -> Rgb:
    """Return a tone for parts that should stand out and yet be of the same colour."""
    if max(colour) < 150:
        red, green, blue = (round(channel + 0.3 * (255 - channel)) for channel in colour)
    else:
        red, green, blue = (round(0.82 * channel) for channel in colour)
    return red, green, blue


def _figure(colour: Rgb) -> Rgb:
    """Return the tone of stripes and dots: white, or grey where that would not show."""
    return (168, 170, 184) if min(colour) > 200 else (254, 252, 246)
