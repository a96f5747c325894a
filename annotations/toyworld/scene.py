"""What a toy scene is: plain records that the writers of the official layouts share."""

from dataclasses import dataclass

from annotations.toyworld.marked_text import MarkedText

# Ids count within an image, so that an image's records do not depend on how many others there are.
IDS_PER_IMAGE = 1000


@dataclass(frozen=True, kw_only=True)
class SceneObject:
    """One drawn thing."""

    category: str
    colour: str
    pattern: str
    size: str
    box_xywh: tuple[int, int, int, int]
    """x, y, width, height in whole pixels; tight around the whole shape, as if nothing stood in front of it."""
    outlines: tuple[tuple[int, ...], ...]
    """Closed polygons x1, y1, x2, y2 ... around the whole shape, holes included; pixels."""
    area: int
    """Pixels of the whole shape."""
    visible_fraction: float
    """Share of the area that nothing hides."""

    @property
    def attributes(self) -> tuple[str, ...]:
        """Return what one would mention: the colour first, then size and pattern unless ordinary."""
        return (self.colour, *(word for word in (self.size, self.pattern) if word not in ("medium", "plain")))


@dataclass(frozen=True, kw_only=True)
class Relation:
    """A true statement: objects[subject] is `predicate` objects[object]."""

    subject: int
    predicate: str
    object: int


@dataclass(frozen=True, kw_only=True)
class Description:
    """A phrase about one object."""

    subject: int
    phrase: MarkedText


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything the annotation files say about one image."""

    image_id: int
    width: int
    height: int
    background: str
    objects: tuple[SceneObject, ...]
    """From back to front."""
    relations: tuple[Relation, ...]
    """All that hold between two different objects."""
    descriptions: tuple[Description, ...]
    captions: tuple[MarkedText, ...]
    """Five sentences about the whole scene."""

    @property
    def split(self) -> str:
        """Return `train` or `val`; every fifth image is for validation, however many images the world has."""
        return "val" if self.image_id % 5 == 0 else "train"

    @property
    def split_of_three(self) -> str:
        """Return `train`, `val` or `test`, where a layout has all three; test is half of what is val elsewhere."""
        return "test" if self.image_id % 10 == 0 else self.split

    def id_of(self, index: int) -> int:
        """Return an id for the object, or for any other record of the scene, that no other scene has."""
        return self.image_id * IDS_PER_IMAGE + index
