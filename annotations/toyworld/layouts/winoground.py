"""Writes pairs of pictures and captions as Winoground has them: the same words in another order.

Each caption is true of one picture only. Winoground is a test, so pictures of the training splits are left out.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from annotations.toyworld.layouts.json_files import write_json_lines
from annotations.toyworld.phrases import fitting, with_article
from annotations.toyworld.references import could_be
from annotations.toyworld.scene import Scene

MOST_USES = 2
"""In how many examples a picture may be, so that a small world does not repeat itself."""

Words = tuple[str, str, str]
"""Subject, predicate, object."""


@dataclass(frozen=True, kw_only=True)
class Swap:
    """Two captions of the same words, each with the picture it is true of."""

    captions: tuple[str, str]
    images: tuple[int, int]
    tag: str


def write_winoground_files(folder: Path, scenes: Sequence[Scene]) -> None:
    """Write `examples.jsonl` into the folder; it is empty where no two scenes fit."""
    evaluation = [scene for scene in scenes if scene.split != "train"]
    uses: Counter[int] = Counter()
    swaps = []
    for swap in (*_relation_swaps(evaluation), *_colour_swaps(evaluation)):
        if all(uses[image] < MOST_USES for image in swap.images):
            uses.update(swap.images)
            swaps.append(swap)
    records = [
        {
            "id": number,
            "caption_0": swap.captions[0],
            "caption_1": swap.captions[1],
            "image_0": str(swap.images[0]),
            "image_1": str(swap.images[1]),
            "tag": swap.tag,
            "secondary_tag": "",
            "num_main_preds": 1,
            "collapsed_tag": "Object",
        }
        for number, swap in enumerate(swaps)
    ]
    write_json_lines(folder / "examples.jsonl", records)


def _relation_swaps(scenes: Sequence[Scene]) -> Iterator[Swap]:
    """Yield `a car above a house` and `a house above a car`."""
    found: defaultdict[Words, list[Scene]] = defaultdict(list)
    for scene in scenes:
        for words in sorted({_relation_words(scene, number) for number in range(len(scene.relations))}):
            # The picture fits its own caption only: nobody would say the other of it.
            if words[0] != words[2] and words[1] != "near" and not _could_say(scene, words[2], words[1], words[0]):
                found[words].append(scene)
    for words, fits in found.items():
        if words[0] < words[2]:
            for first, second in zip(fits, found.get((words[2], words[1], words[0]), ()), strict=False):
                yield Swap(
                    captions=(_caption(*words), _caption(words[2], words[1], words[0])),
                    images=(first.image_id, second.image_id),
                    tag="Noun",
                )


def _relation_words(scene: Scene, number: int) -> Words:
    relation = scene.relations[number]
    return scene.objects[relation.subject].category, relation.predicate, scene.objects[relation.object].category


def _could_say(scene: Scene, subject: str, predicate: str, other: str) -> bool:
    return any(
        scene.objects[index].category == subject
        for each in fitting(scene.objects, other)
        for index in could_be(scene, predicate, each)
    )


def _colour_swaps(scenes: Sequence[Scene]) -> Iterator[Swap]:
    """Yield `a red car and a blue house` and `a blue car and a red house`."""
    found: defaultdict[tuple[str, str, str, str], list[Scene]] = defaultdict(list)
    for scene in scenes:
        for words in sorted(
            {
                (one.colour, one.category, other.colour, other.category)
                for one in scene.objects
                for other in scene.objects
                if one.category < other.category and one.colour != other.colour
            }
        ):
            found[words].append(scene)
    for (colour, name, other_colour, other_name), fits in found.items():
        if colour < other_colour:
            swapped = found.get((other_colour, name, colour, other_name), ())
            only_first = [scene for scene in fits if scene not in swapped]
            only_second = [scene for scene in swapped if scene not in fits]
            for first, second in zip(only_first, only_second, strict=False):
                yield Swap(
                    captions=(
                        _caption(f"{colour} {name}", "and", f"{other_colour} {other_name}"),
                        _caption(f"{other_colour} {name}", "and", f"{colour} {other_name}"),
                    ),
                    images=(first.image_id, second.image_id),
                    tag="Adjective-Color",
                )


def _caption(subject: str, predicate: str, other: str) -> str:
    return f"{with_article(subject)} {predicate} {with_article(other)}"
