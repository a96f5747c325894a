"""The words of the toy world and what they look like: categories, colours, patterns, sizes, relations."""

from dataclasses import dataclass

Rgb = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Category:
    """What may happen to a thing in a scene; how it is drawn is in `drawing.PICTURES`."""

    plural: str
    kind: str
    """What else it is one of: a word that GQA has for a group of names."""
    synset: str
    """WordNet name, as Visual Genome writes it."""
    mirrors: bool = False
    """Its left side differs from its right side, so it may face either way."""
    max_tilt_degrees: int = 0
    goes: tuple[str, ...] = ()
    """`on` and `in`, where it can be put on or in something that holds things so."""
    holds: str | None = None
    """`on` if things can be put on it, `in` if in it."""
    hold_y: float = 0
    """Height of the surface or rim that holds them, fraction of its unit square from the top."""


CATEGORIES: dict[str, Category] = {
    "ball": Category(plural="balls", kind="toy", synset="ball.n.01", max_tilt_degrees=40, goes=("on", "in")),
    "basket": Category(plural="baskets", kind="container", synset="basket.n.01", holds="in", hold_y=0.48),
    "bird": Category(plural="birds", kind="animal", synset="bird.n.01", mirrors=True, goes=("on", "in")),
    "boat": Category(plural="boats", kind="vehicle", synset="boat.n.01", mirrors=True, max_tilt_degrees=6),
    "car": Category(plural="cars", kind="vehicle", synset="car.n.01", mirrors=True, max_tilt_degrees=4),
    "cat": Category(plural="cats", kind="animal", synset="cat.n.01", mirrors=True, goes=("on", "in")),
    "chair": Category(plural="chairs", kind="furniture", synset="chair.n.01", mirrors=True, holds="on", hold_y=0.56),
    "clock": Category(plural="clocks", kind="device", synset="clock.n.01", goes=("on", "in")),
    "fish": Category(plural="fish", kind="animal", synset="fish.n.01", mirrors=True, max_tilt_degrees=15),
    "flower": Category(plural="flowers", kind="plant", synset="flower.n.01", max_tilt_degrees=10, goes=("in",)),
    "house": Category(plural="houses", kind="building", synset="house.n.01", mirrors=True),
    "kite": Category(plural="kites", kind="toy", synset="kite.n.03", mirrors=True, max_tilt_degrees=20),
    "lamp": Category(plural="lamps", kind="device", synset="lamp.n.01", goes=("on",)),
    "mug": Category(plural="mugs", kind="container", synset="mug.n.04", mirrors=True, goes=("on",)),
    "star": Category(plural="stars", kind="toy", synset="star.n.03", max_tilt_degrees=15, goes=("in",)),
    "table": Category(plural="tables", kind="furniture", synset="table.n.02", holds="on", hold_y=0.34),
    "tree": Category(plural="trees", kind="plant", synset="tree.n.01", mirrors=True),
    "umbrella": Category(plural="umbrellas", kind="device", synset="umbrella.n.01", mirrors=True, max_tilt_degrees=12),
}

# Far apart in hue or in lightness, so that a detector trained for minutes tells them apart.
COLOURS: dict[str, Rgb] = {
    "black": (66, 64, 74),
    "blue": (44, 104, 206),
    "brown": (132, 84, 48),
    "green": (56, 160, 76),
    "orange": (244, 136, 28),
    "pink": (248, 150, 190),
    "purple": (132, 70, 178),
    "red": (214, 42, 48),
    "white": (247, 246, 240),
    "yellow": (250, 212, 56),
}

PATTERNS: tuple[str, ...] = ("plain", "striped", "dotted")
"""Plain is what one does not mention: it never becomes an attribute."""

SIZES: dict[str, tuple[float, float]] = {"small": (0.17, 0.21), "medium": (0.27, 0.34), "large": (0.42, 0.5)}
"""Side of the unit square, from and to, in shorter image sides; medium never becomes an attribute."""

ATTRIBUTES: tuple[str, ...] = (*sorted(COLOURS), "dotted", "large", "small", "striped")

PREDICATES: tuple[str, ...] = ("above", "below", "in", "near", "on", "to the left of", "to the right of")
