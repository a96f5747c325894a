"""What lies behind the things: four quiet backgrounds and five busy ones, listed in `BACKGROUNDS`."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from annotations.toyworld.vocabulary import Rgb

Pixels = NDArray[np.uint8]

# Pale on purpose: the ten colours of the things must stand out against every one of these.
PASTELS: tuple[Rgb, ...] = (
    (235, 226, 214),
    (214, 226, 236),
    (224, 236, 218),
    (240, 222, 222),
    (226, 220, 236),
    (222, 222, 222),
    (206, 228, 226),
)
CONFETTI: tuple[Rgb, ...] = (
    (244, 204, 206),
    (200, 218, 240),
    (248, 228, 180),
    (206, 230, 202),
    (224, 208, 238),
)


@dataclass(frozen=True, kw_only=True)
class Background:
    """One way to fill the picture before anything stands in it."""

    phrase: str
    """How a caption mentions it, marked as `marked_text` has it."""
    paint: Callable[[Pixels, np.random.Generator], None]
    """Fills uint8 [H, W, 3] (red, green, blue) in place."""


def plain(pixels: Pixels, rng: np.random.Generator) -> None:
    pixels[:] = _pastel(rng)


def dusk(pixels: Pixels, rng: np.random.Generator) -> None:
    _blend_down(pixels, _pastel(rng), (250, 214, 196))


def squared_paper(pixels: Pixels, rng: np.random.Generator) -> None:
    pixels[:] = (248, 246, 240)
    step = int(rng.integers(14, 24))
    pixels[step // 2 :: step] = (206, 220, 234)
    pixels[:, step // 2 :: step] = (206, 220, 234)


def room(pixels: Pixels, rng: np.random.Generator) -> None:
    wall = _pastel(rng)
    pixels[:] = wall
    floor = round(len(pixels) * rng.uniform(0.66, 0.8))
    pixels[floor:] = (214, 190, 164)
    pixels[floor - 5 : floor] = (250, 248, 244)


def meadow(pixels: Pixels, rng: np.random.Generator) -> None:
    height, width = pixels.shape[:2]
    _blend_down(pixels, (176, 212, 240), (236, 244, 248))
    _clouds(pixels, rng)
    horizon = height * rng.uniform(0.3, 0.5)
    for tone, lift in (((190, 216, 170), 0.0), ((172, 206, 150), 0.12)):
        xs = np.linspace(0, width, 40)
        ys = horizon + lift * height + 0.05 * height * np.sin(xs / width * rng.uniform(4, 9) + rng.uniform(0, 6))
        hill = np.stack([xs, ys], axis=1).round().astype(np.int32)
        corners = np.array([[width, height], [0, height]], np.int32)
        cv2.fillPoly(pixels, [np.concatenate([hill, corners])], tone, cv2.LINE_AA)
    for x, y in rng.uniform((0, horizon + 0.16 * height), (width, height), (220, 2)).round().astype(int).tolist():
        lean, rise = int(rng.integers(-3, 4)), int(rng.integers(4, 10))
        green = (146, 186, 122) if (x + y) % 2 else (192, 220, 164)
        cv2.line(pixels, (x, y), (x + lean, y - rise), green, 1, cv2.LINE_AA)


def sea(pixels: Pixels, rng: np.random.Generator) -> None:
    height, width = pixels.shape[:2]
    _blend_down(pixels, (196, 222, 244), (246, 236, 224))
    _clouds(pixels, rng)
    horizon = round(height * rng.uniform(0.35, 0.55))
    _blend_down(pixels[horizon:], (150, 200, 214), (188, 222, 222))
    for _ in range(70):
        x, y = int(rng.integers(0, width)), int(rng.integers(horizon + 4, height))
        reach = int(3 + 9 * (y - horizon) / (height - horizon))
        cv2.ellipse(pixels, (x, y), (reach, reach // 3), 0, 200, 340, (226, 242, 242), 1, cv2.LINE_AA)


def sand(pixels: Pixels, rng: np.random.Generator) -> None:
    height, width = pixels.shape[:2]
    coarse = rng.normal(0, 9, (height // 12 + 1, width // 12 + 1)).astype(np.float32)
    grain = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    grain = grain + rng.standard_normal((height, width), dtype=np.float32) * 8
    pixels[:] = np.clip(np.array((232, 212, 176), np.float32) + grain[:, :, None], 0, 255).astype(np.uint8)
    for x, y in rng.uniform((0, 0), (width, height), (24, 2)).round().astype(int).tolist():
        cv2.ellipse(pixels, (x, y), (3, 2), int(x) % 180, 0, 360, (206, 190, 168), cv2.FILLED, cv2.LINE_AA)


def planks(pixels: Pixels, rng: np.random.Generator) -> None:
    height, width = pixels.shape[:2]
    plank = int(rng.integers(26, 42))
    for top in range(0, height, plank):
        tone = np.array((222, 198, 168)) + rng.integers(-9, 10)
        pixels[top : top + plank] = tone
        for _ in range(5):
            x, y = int(rng.integers(0, width)), top + int(rng.integers(4, plank))
            cv2.line(pixels, (x, y), (x + int(rng.integers(30, 110)), y), (206, 180, 148), 1, cv2.LINE_AA)
        seam = int(rng.integers(0, width))
        cv2.line(pixels, (seam, top), (seam, top + plank), (184, 156, 124), 1)
        cv2.line(pixels, (0, top), (width, top), (184, 156, 124), 1)


def confetti(pixels: Pixels, rng: np.random.Generator) -> None:
    height, width = pixels.shape[:2]
    pixels[:] = (250, 246, 240)
    for x, y in rng.uniform((0, 0), (width, height), (60, 2)).round().astype(int).tolist():
        tone = CONFETTI[int(rng.integers(len(CONFETTI)))]
        reach = int(rng.integers(3, 15))
        match int(rng.integers(0, 3)):
            case 0:
                cv2.circle(pixels, (x, y), reach, tone, cv2.FILLED, cv2.LINE_AA)
            case 1:
                corners = cv2.boxPoints(((x, y), (2 * reach, reach), float(rng.uniform(0, 90))))
                cv2.fillPoly(pixels, [corners.round().astype(np.int32)], tone, cv2.LINE_AA)
            case _:
                cv2.ellipse(pixels, (x, y), (reach, reach), float(rng.uniform(0, 360)), 0, 200, tone, 3, cv2.LINE_AA)


BACKGROUNDS: dict[str, Background] = {
    "plain": Background(phrase="in front of [:a plain wall]", paint=plain),
    "dusk": Background(phrase="under [:an evening sky]", paint=dusk),
    "paper": Background(phrase="on [:squared paper]", paint=squared_paper),
    "room": Background(phrase="in [:a room]", paint=room),
    "meadow": Background(phrase="in [:a meadow]", paint=meadow),
    "sea": Background(phrase="by [:the sea]", paint=sea),
    "sand": Background(phrase="on [:the sand]", paint=sand),
    "planks": Background(phrase="in front of [:a wooden fence]", paint=planks),
    "confetti": Background(phrase="among [:confetti]", paint=confetti),
}


def _pastel(rng: np.random.Generator) -> Rgb:
    return PASTELS[int(rng.integers(len(PASTELS)))]


def _blend_down(pixels: Pixels, top: Rgb, bottom: Rgb) -> None:
    share = np.linspace(0, 1, len(pixels), dtype=np.float32)[:, None]
    rows = (1 - share) * np.array(top, np.float32) + share * np.array(bottom, np.float32)
    pixels[:] = rows.round().astype(np.uint8)[:, None, :]


def _clouds(pixels: Pixels, rng: np.random.Generator) -> None:
    height, width = pixels.shape[:2]
    for _ in range(int(rng.integers(1, 4))):
        x, y = int(rng.integers(0, width)), int(rng.uniform(0.06, 0.24) * height)
        for offset, radius in ((-16, 8), (0, 12), (15, 9)):
            cv2.circle(pixels, (x + offset, y), radius, (250, 250, 250), cv2.FILLED, cv2.LINE_AA)
