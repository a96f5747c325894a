"""Words that single out one thing of a scene."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations

from annotations.toyworld.facts import Fact
from annotations.toyworld.marked_text import mark
from annotations.toyworld.phrases import describe, fitting
from annotations.toyworld.relations import could_hold
from annotations.toyworld.scene import Scene, SceneObject


@dataclass(frozen=True, kw_only=True)
class Reference:
    """Words that fit this thing only."""

    index: int
    category: str
    attributes: tuple[str, ...]

    @property
    def words(self) -> str:
        return describe(self.category, self.attributes)

    @property
    def facts(self) -> frozenset[Fact]:
        """Return what who uses these words takes for granted."""
        return frozenset({("there", self.index), *(("is", self.index, word) for word in self.attributes)})

    def __str__(self) -> str:
        """Return the words, marked."""
        return mark(self.words, self.index)


def refer(index: int, objects: Sequence[SceneObject], *, avoid: Iterable[str] = ()) -> Reference | None:
    """Return the fewest words that fit no other object, without those to avoid; None where there are none."""
    thing = objects[index]
    usable = [word for word in thing.attributes if word not in avoid]
    for number in range(len(usable) + 1):
        for attributes in combinations(usable, number):
            if fitting(objects, thing.category, attributes) == [index]:
                return Reference(index=index, category=thing.category, attributes=attributes)
    return None


def could_be(scene: Scene, predicate: str, other: int) -> list[int]:
    """Return every object of which somebody might say that it is, for example, above objects[other]."""
    return [
        index
        for index, thing in enumerate(scene.objects)
        if index != other
        and could_hold(
            predicate,
            thing.box_xywh,
            scene.objects[other].box_xywh,
            longer_side=max(scene.width, scene.height),
        )
    ]
