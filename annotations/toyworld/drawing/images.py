"""How each category looks: one small function per category, listed in `PICTURES`."""

from collections.abc import Callable

from annotations.toyworld.drawing.brush import INK, LINE, Brush, Sprite, arc
from annotations.toyworld.vocabulary import COLOURS, Rgb

WOOD: Rgb = (176, 124, 76)
CREAM: Rgb = (252, 244, 222)
GLASS: Rgb = (176, 220, 238)
STEEL: Rgb = (170, 174, 184)
TYRE: Rgb = (58, 56, 62)
LEAF: Rgb = (96, 168, 84)
GOLD: Rgb = (248, 200, 70)
ROSE: Rgb = (236, 130, 140)


def draw(*, category: str, colour: str, pattern: str, side: int, mirrored: bool, tilt_degrees: float) -> Sprite:
    """Return the thing, painted into a unit square of that many pixels."""
    brush = Brush(side=side, colour=COLOURS[colour], pattern=pattern, mirrored=mirrored, tilt_degrees=tilt_degrees)
    PICTURES[category](brush)
    return brush.sprite()


def ball(b: Brush) -> None:
    b.oval(0.5, 0.5, 0.44, 0.44, b.body)
    b.stroke([(0.5, 0.06), (0.5, 0.94)], INK, LINE)
    b.stroke(arc(0.0, 0.5, 0.3, 0.36, -52, 52), INK, LINE)
    b.stroke(arc(1.0, 0.5, 0.3, 0.36, 128, 232), INK, LINE)
    b.stroke([(0.06, 0.5), (0.94, 0.5)], INK, LINE)
    b.oval(0.34, 0.27, 0.09, 0.055, CREAM, turn_degrees=-35, line=0)


def basket(b: Brush) -> None:
    b.stroke(arc(0.5, 0.5, 0.36, 0.4, 180, 360), b.tone, 0.05, line=LINE)
    b.shape([(0.06, 0.5), (0.94, 0.5), (0.82, 0.96), (0.18, 0.96)], b.body)
    for row, y in enumerate((0.6, 0.72, 0.84)):
        inset = 0.12 * (y - 0.5) / 0.46 + 0.06
        b.stroke([(inset, y), (1 - inset, y)], INK, 0.012)
        for column in range(6):
            x = 0.2 + 0.12 * column + 0.06 * (row % 2)
            b.stroke([(x, y - 0.1), (x, y)], INK, 0.012)
    b.shape([(0.02, 0.46), (0.98, 0.46), (0.98, 0.55), (0.02, 0.55)], b.shade)


def bird(b: Brush) -> None:
    b.stroke([(0.46, 0.8), (0.44, 0.96), (0.36, 0.96)], GOLD, 0.03, line=0.014)
    b.stroke([(0.58, 0.8), (0.56, 0.96), (0.48, 0.96)], GOLD, 0.03, line=0.014)
    b.shape([(0.72, 0.54), (1.0, 0.42), (0.97, 0.62), (0.74, 0.72)], b.shade)
    b.shape([(0.16, 0.3), (0.0, 0.38), (0.18, 0.43)], GOLD)
    b.oval(0.52, 0.6, 0.32, 0.24, b.body)
    b.oval(0.3, 0.34, 0.2, 0.19, b.body)
    b.oval(0.46, 0.55, 0.2, 0.15, b.body, line=0)
    b.shape([(0.42, 0.52), *arc(0.6, 0.56, 0.2, 0.17, -60, 120)], b.shade)
    b.stroke(arc(0.6, 0.58, 0.1, 0.08, 0, 120), INK, 0.015)
    b.oval(0.25, 0.31, 0.05, 0.055, CREAM, line=0.012)
    b.oval(0.24, 0.31, 0.026, 0.03, INK, line=0)


def boat(b: Brush) -> None:
    b.shape([(0.52, 0.02), (0.72, 0.07), (0.52, 0.12)], b.tone)
    b.stroke([(0.5, 0.03), (0.5, 0.7)], WOOD, 0.035, line=0.014)
    b.shape([(0.55, 0.14), (0.92, 0.6), (0.55, 0.62)], CREAM)
    b.shape([(0.45, 0.18), (0.14, 0.58), (0.45, 0.62)], CREAM)
    b.stroke([(0.57, 0.46), (0.8, 0.46)], b.tone, 0.04)
    b.stroke([(0.43, 0.46), (0.25, 0.46)], b.tone, 0.04)
    b.shape([(0.0, 0.68), (1.0, 0.68), (0.88, 0.86), (0.78, 0.94), (0.22, 0.94), (0.1, 0.84)], b.body)
    b.stroke([(0.04, 0.75), (0.96, 0.75)], CREAM, 0.025)
    for x in (0.32, 0.5, 0.68):
        b.oval(x, 0.845, 0.035, 0.035, GLASS, line=0.014)


def car(b: Brush) -> None:
    b.shape([(0.2, 0.46), (0.32, 0.24), (0.66, 0.24), (0.82, 0.46)], b.body)
    b.shape([(0.28, 0.45), (0.36, 0.3), (0.48, 0.3), (0.48, 0.45)], GLASS)
    b.shape([(0.53, 0.45), (0.53, 0.3), (0.64, 0.3), (0.73, 0.45)], GLASS)
    b.shape(
        [(0.02, 0.52), (0.08, 0.46), (0.86, 0.46), (0.97, 0.54), (1.0, 0.7), (0.96, 0.74), (0.02, 0.74)],
        b.body,
    )
    b.stroke([(0.505, 0.48), (0.505, 0.72)], INK, 0.014)
    b.stroke([(0.55, 0.56), (0.62, 0.56)], INK, 0.022)
    b.oval(0.955, 0.6, 0.032, 0.045, GOLD, line=0.014)
    b.shape([(0.01, 0.54), (0.06, 0.54), (0.06, 0.62), (0.01, 0.62)], ROSE, line=0.014)
    for x in (0.24, 0.76):
        b.oval(x, 0.74, 0.13, 0.13, TYRE)
        b.oval(x, 0.74, 0.065, 0.065, STEEL, line=0.014)


def cat(b: Brush) -> None:
    b.stroke(arc(0.78, 0.72, 0.16, 0.2, 90, -70), b.tone, 0.075, line=LINE)
    b.shape([*arc(0.46, 0.74, 0.27, 0.32, 180, 360), (0.75, 0.97), (0.17, 0.97)], b.body)
    b.stroke([(0.4, 0.78), (0.4, 0.96)], INK, 0.016)
    b.stroke([(0.54, 0.78), (0.54, 0.96)], INK, 0.016)
    b.shape([(0.2, 0.24), (0.19, 0.0), (0.4, 0.12)], b.tone)
    b.shape([(0.72, 0.24), (0.73, 0.0), (0.52, 0.12)], b.tone)
    b.oval(0.46, 0.3, 0.3, 0.23, b.body)
    for x in (0.34, 0.58):
        b.oval(x, 0.27, 0.055, 0.06, CREAM, line=0.012)
        b.oval(x, 0.275, 0.026, 0.042, INK, line=0)
    b.shape([(0.425, 0.36), (0.495, 0.36), (0.46, 0.4)], ROSE, line=0.01)
    for y in (0.37, 0.42):
        b.stroke([(0.32, 0.385), (0.12, y)], INK, 0.012)
        b.stroke([(0.6, 0.385), (0.8, y)], INK, 0.012)
    b.stroke(arc(0.46, 0.405, 0.06, 0.05, 20, 160), INK, 0.014)


def chair(b: Brush) -> None:
    for x, top, bottom in ((0.2, 0.04, 0.86), (0.72, 0.04, 0.86)):
        b.stroke([(x, top), (x, bottom)], b.tone, 0.055, line=LINE)
    for y in (0.12, 0.26, 0.4):
        b.shape([(0.2, y - 0.035), (0.72, y - 0.035), (0.72, y + 0.035), (0.2, y + 0.035)], b.body)
    for x in (0.12, 0.86):
        b.stroke([(x, 0.62), (x, 0.96)], b.tone, 0.06, line=LINE)
    b.shape([(0.18, 0.5), (0.76, 0.5), (0.92, 0.62), (0.06, 0.62)], b.body)
    b.shape([(0.06, 0.62), (0.92, 0.62), (0.92, 0.68), (0.06, 0.68)], b.shade)


def clock(b: Brush) -> None:
    for x, outward in ((0.28, -1), (0.72, 1)):
        b.stroke([(x, 0.84), (x + 0.08 * outward, 0.96)], b.tone, 0.06, line=LINE)
        b.oval(x - 0.02 * outward, 0.15, 0.15, 0.1, b.tone, turn_degrees=38 * outward)
    b.stroke([(0.5, 0.08), (0.5, 0.18)], STEEL, 0.05, line=0.014)
    b.oval(0.5, 0.53, 0.41, 0.4, b.body)
    b.oval(0.5, 0.53, 0.3, 0.29, CREAM)
    for hour in range(12):
        (outer, *_), (inner, *_) = arc(0.5, 0.53, 0.27, 0.26, 30 * hour), arc(0.5, 0.53, 0.22, 0.21, 30 * hour)
        b.stroke([inner, outer], INK, 0.016)
    b.stroke([(0.5, 0.53), (0.5, 0.34)], INK, 0.03)
    b.stroke([(0.5, 0.53), (0.63, 0.6)], INK, 0.035)
    b.oval(0.5, 0.53, 0.03, 0.03, ROSE, line=0)


def fish(b: Brush) -> None:
    b.shape([(0.7, 0.5), (0.99, 0.27), (0.93, 0.5), (0.99, 0.73)], b.shade)
    b.shape([(0.34, 0.32), (0.5, 0.12), (0.66, 0.33)], b.shade)
    b.shape([(0.42, 0.68), (0.52, 0.84), (0.62, 0.66)], b.shade)
    b.oval(0.41, 0.5, 0.4, 0.25, b.body)
    b.stroke(arc(0.22, 0.5, 0.1, 0.19, -75, 75), INK, 0.018)
    for x, y in ((0.46, 0.42), (0.46, 0.58), (0.58, 0.5), (0.6, 0.38), (0.6, 0.62)):
        b.stroke(arc(x, y, 0.05, 0.065, -80, 80), INK, 0.014)
    b.oval(0.17, 0.44, 0.05, 0.055, CREAM, line=0.014)
    b.oval(0.16, 0.44, 0.024, 0.028, INK, line=0)
    b.stroke(arc(0.06, 0.56, 0.07, 0.05, 0, 80), INK, 0.016)


def flower(b: Brush) -> None:
    b.stroke([(0.5, 0.4), (0.51, 0.97)], LEAF, 0.045, line=0.016)
    b.oval(0.36, 0.78, 0.14, 0.055, LEAF, turn_degrees=25, line=0.016)
    b.oval(0.65, 0.7, 0.14, 0.055, LEAF, turn_degrees=-25, line=0.016)
    for turn in range(0, 360, 60):
        (x, y), *_ = arc(0.5, 0.34, 0.2, 0.2, turn + 30)
        b.oval(x, y, 0.14, 0.105, b.body, turn_degrees=turn + 30)
    b.oval(0.5, 0.34, 0.11, 0.11, GOLD)
    for x, y in ((0.46, 0.31), (0.54, 0.31), (0.5, 0.38)):
        b.oval(x, y, 0.014, 0.014, WOOD, line=0)


def house(b: Brush) -> None:
    b.shape([(0.7, 0.06), (0.82, 0.06), (0.82, 0.36), (0.7, 0.26)], ROSE)
    b.shape([(0.12, 0.44), (0.88, 0.44), (0.88, 0.97), (0.12, 0.97)], b.body)
    b.shape([(0.0, 0.46), (0.5, 0.04), (1.0, 0.46)], b.shade)
    for y, reach in ((0.18, 0.14), (0.28, 0.26), (0.38, 0.38)):
        b.stroke([(0.5 - reach, y), (0.5 + reach, y)], INK, 0.012)
    b.shape([(0.2, 0.64), (0.42, 0.64), (0.42, 0.97), (0.2, 0.97)], WOOD)
    b.oval(0.375, 0.81, 0.018, 0.018, GOLD, line=0)
    b.shape([(0.54, 0.58), (0.8, 0.58), (0.8, 0.8), (0.54, 0.8)], GLASS)
    b.stroke([(0.67, 0.58), (0.67, 0.8)], INK, 0.018)
    b.stroke([(0.54, 0.69), (0.8, 0.69)], INK, 0.018)


def kite(b: Brush) -> None:
    b.stroke([(0.4, 0.66), (0.5, 0.76), (0.42, 0.84), (0.56, 0.97)], INK, 0.02)
    for x, y in ((0.48, 0.74), (0.45, 0.86)):
        b.shape([(x - 0.08, y - 0.045), (x, y), (x - 0.08, y + 0.045)], b.tone, line=0.014)
        b.shape([(x + 0.08, y - 0.045), (x, y), (x + 0.08, y + 0.045)], b.tone, line=0.014)
    b.shape([(0.5, 0.0), (0.88, 0.28), (0.4, 0.68), (0.12, 0.22)], b.body)
    b.shape([(0.5, 0.0), (0.88, 0.28), (0.47, 0.25)], b.shade, line=0.014)
    b.shape([(0.12, 0.22), (0.47, 0.25), (0.4, 0.68)], b.shade, line=0.014)
    b.stroke([(0.5, 0.0), (0.4, 0.68)], INK, LINE)
    b.stroke([(0.12, 0.22), (0.88, 0.28)], INK, LINE)


def lamp(b: Brush) -> None:
    b.oval(0.5, 0.92, 0.25, 0.055, STEEL)
    b.stroke([(0.5, 0.5), (0.5, 0.9)], STEEL, 0.05, line=LINE)
    b.oval(0.5, 0.52, 0.09, 0.09, GOLD)
    b.shape([(0.33, 0.06), (0.67, 0.06), (0.9, 0.5), (0.1, 0.5)], b.body)
    b.stroke([(0.3, 0.12), (0.7, 0.12)], INK, 0.014)
    b.stroke([(0.13, 0.44), (0.87, 0.44)], INK, 0.014)
    b.stroke([(0.72, 0.52), (0.72, 0.68)], INK, 0.014)
    b.oval(0.72, 0.7, 0.026, 0.026, GOLD, line=0.012)


def mug(b: Brush) -> None:
    b.stroke(arc(0.72, 0.54, 0.2, 0.2, -90, 90), b.tone, 0.085, line=LINE)
    b.shape([(0.1, 0.18), (0.74, 0.18), (0.72, 0.86), *arc(0.42, 0.86, 0.3, 0.09, 0, 180), (0.12, 0.86)], b.body)
    b.oval(0.42, 0.18, 0.32, 0.1, CREAM)
    b.oval(0.42, 0.2, 0.25, 0.065, (112, 70, 44), line=0)
    heart = [(0.42, 0.7), (0.3, 0.55), *arc(0.36, 0.5, 0.06, 0.06, 180, 360), *arc(0.48, 0.5, 0.06, 0.06, 180, 360)]
    b.shape([*heart, (0.54, 0.55)], CREAM if b.tone != COLOURS["white"] else ROSE, line=0.014)


def star(b: Brush) -> None:
    tips = arc(0.5, 0.54, 0.5, 0.5, -90, 270)
    dents = arc(0.5, 0.54, 0.25, 0.25, -54, 306)
    step = (len(tips) - 1) // 5
    b.shape([point for i in range(0, 5 * step, step) for point in (tips[i], dents[i])], b.body)
    for x in (0.42, 0.58):
        b.oval(x, 0.48, 0.035, 0.05, INK, line=0)
        b.oval(x + 0.01, 0.465, 0.012, 0.016, CREAM, line=0)
    b.stroke(arc(0.5, 0.56, 0.08, 0.07, 20, 160), INK, 0.022)
    for x in (0.34, 0.66):
        b.oval(x, 0.57, 0.035, 0.025, ROSE, line=0)


def table(b: Brush) -> None:
    for x, bottom in ((0.24, 0.8), (0.76, 0.8), (0.1, 0.94), (0.9, 0.94)):
        b.stroke([(x, 0.42), (x, bottom)], WOOD, 0.055, line=LINE)
    b.shape([(0.18, 0.26), (0.82, 0.26), (1.0, 0.42), (0.0, 0.42)], b.body)
    fringe = [(1 - x / 10, 0.5 + 0.05 * (x % 2)) for x in range(11)]
    b.shape([(0.0, 0.42), (1.0, 0.42), *fringe], b.body)


def tree(b: Brush) -> None:
    b.shape([(0.43, 0.58), (0.57, 0.58), (0.6, 0.97), (0.4, 0.97)], WOOD)
    b.stroke([(0.48, 0.7), (0.48, 0.84)], INK, 0.012)
    crown = ((0.28, 0.46, 0.22), (0.72, 0.46, 0.22), (0.5, 0.24, 0.22), (0.36, 0.3, 0.18), (0.66, 0.32, 0.18))
    for x, y, radius in crown:
        b.oval(x, y, radius, radius, b.body)
    b.oval(0.5, 0.5, 0.22, 0.18, b.body)
    for x, y, radius in crown:
        b.oval(x, y, radius - 0.02, radius - 0.02, b.body, line=0)
    b.oval(0.5, 0.5, 0.2, 0.16, b.body, line=0)
    for x, y in ((0.3, 0.4), (0.52, 0.2), (0.7, 0.38), (0.5, 0.5)):
        b.stroke(arc(x, y, 0.07, 0.05, 190, 340), INK, 0.014)


def umbrella(b: Brush) -> None:
    b.stroke([(0.5, 0.02), (0.5, 0.84), *arc(0.41, 0.84, 0.09, 0.11, 0, 170)], WOOD, 0.035, line=0.016)
    rim = [arc(x, 0.5, 0.096, 0.06, 0, -180) for x in (0.884, 0.692, 0.5, 0.308, 0.116)]  # from right to left
    b.shape([*arc(0.5, 0.5, 0.48, 0.42, 180, 360), *(point for scallop in rim for point in scallop)], b.body)
    b.shape([*arc(0.5, 0.5, 0.288, 0.42, 270, 360), *rim[1]], b.shade, line=0.014)
    b.shape([*arc(0.5, 0.5, 0.288, 0.42, 180, 270), *rim[3]], b.shade, line=0.014)
    b.stroke([(0.5, 0.02), (0.5, 0.1)], WOOD, 0.03, line=0.012)


PICTURES: dict[str, Callable[[Brush], None]] = {
    "ball": ball,
    "basket": basket,
    "bird": bird,
    "boat": boat,
    "car": car,
    "cat": cat,
    "chair": chair,
    "clock": clock,
    "fish": fish,
    "flower": flower,
    "house": house,
    "kite": kite,
    "lamp": lamp,
    "mug": mug,
    "star": star,
    "table": table,
    "tree": tree,
    "umbrella": umbrella,
}
