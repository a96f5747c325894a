"""What a question asks to be done, step by step, in GQA's functional programs."""

from collections.abc import Iterable
from dataclasses import dataclass

from annotations.toyworld.phrases import fitting
from annotations.toyworld.references import Reference
from annotations.toyworld.scene import Scene
from annotations.toyworld.vocabulary import COLOURS

KINDS: dict[str, tuple[str, ...]] = {
    "color": tuple(COLOURS),
    "size": ("large", "small"),
    "pattern": ("striped", "dotted"),
}
"""Attributes by what one asks for; of each kind a thing has one at most."""

KIND_OF = {word: kind for kind, words in KINDS.items() for word in words}


@dataclass(frozen=True, kw_only=True)
class Step:
    """One operation of a question's program."""

    operation: str
    argument: str
    dependencies: tuple[int, ...] = ()
    """Numbers of earlier steps."""


class Program:
    """A question's program in the making."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self.steps: list[Step] = []

    def add(self, operation: str, argument: str = "", *dependencies: int) -> int:
        """Return the new step's number."""
        self.steps.append(Step(operation=operation, argument=argument, dependencies=dependencies))
        return len(self.steps) - 1

    def select(self, reference: Reference) -> int:
        step = self.add("select", f"{reference.category} ({self._scene.id_of(reference.index)})")
        for word in reference.attributes:
            step = self.add(f"filter {KIND_OF[word]}", word, step)
        return step

    def select_any(self, category: str, attributes: Iterable[str] = ()) -> int:
        """Select what fits; `(-)` stands for nothing, as GQA has it."""
        named = fitting(self._scene.objects, category)
        step = self.add("select", f"{category} ({','.join(str(self._scene.id_of(each)) for each in named) or '-'})")
        for word in attributes:
            step = self.add(f"filter {KIND_OF[word]}", word, step)
        return step
