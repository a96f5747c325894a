"""Writes statements about two pictures as NLVR2 has them: https://github.com/lil-lab/nlvr/tree/master/nlvr2.

An identifier such as `dev-3-1-0` is of set 3, pair 1, statement 0, and names the images dev-3-1-img0 and dev-3-1-img1.
A set's statements are the same for all its pairs, true of some and false of others.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import cv2
import numpy as np

from annotations.toyworld.layouts.json_files import Record, write_json_lines
from annotations.toyworld.phrases import NUMBER_WORDS, fitting, with_article
from annotations.toyworld.random_streams import random_stream
from annotations.toyworld.scene import Scene
from annotations.toyworld.vocabulary import CATEGORIES, COLOURS

PAIRS_A_SET = 4
"""Fewer, but two, in a split of less than 40 images: there is a pair for about ten images, as copies take space."""
STATEMENTS_A_SET = 2

_SPLITS = {"train": "train", "dev": "val", "test1": "test"}


@dataclass(frozen=True, kw_only=True)
class Statement:
    """Something about two pictures that is true or false."""

    text: str
    is_true: Callable[[Scene, Scene], bool]


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two pictures, left and right."""

    name: str
    """`dev-3-1`, which identifiers and images begin with."""
    left: Scene
    right: Scene


def write_nlvr2_files(folder: Path, images: Path, scenes: Sequence[Scene], seed: int) -> None:
    """Write `{train,dev,test1}.json`, a JSON object a line, and `images/` with copies as PNG, into the folder.

    Args:
        images: folder of the pictures, `7.jpg`.
    """
    rng = random_stream("statements", seed)
    for name, split in _SPLITS.items():
        records = []
        chosen = [scene for scene in scenes if scene.split_of_three == split]
        for number, pairs in enumerate(_choose_sets(name, chosen, rng)):
            place = folder / "images" / (f"train/{number % 100}" if name == "train" else name)
            for pair in pairs:
                for side, scene in enumerate((pair.left, pair.right)):
                    _copy(images / f"{scene.image_id}.jpg", place / f"{pair.name}-img{side}.png")
            for index, statement in enumerate(_choose_statements(pairs, rng)):
                records += [_record(pair, index, statement) for pair in pairs]
        write_json_lines(folder / f"{name}.json", records)


def _choose_sets(name: str, scenes: Sequence[Scene], rng: np.random.Generator) -> Iterator[list[Pair]]:
    if len(scenes) < 3:
        return  # no two pairs that differ in more than their order
    num_pairs = min(PAIRS_A_SET, max(2, len(scenes) // 10))
    for number in range(max(1, len(scenes) // (10 * PAIRS_A_SET))):
        pairs = []
        for index in range(num_pairs):
            left, right = rng.permutation(len(scenes))[:2]
            pairs.append(Pair(name=f"{name}-{number}-{index}", left=scenes[left], right=scenes[right]))
        yield pairs


def _choose_statements(pairs: Sequence[Pair], rng: np.random.Generator) -> list[Statement]:
    """Return those that are true of about half of the pairs, about different categories if there are."""
    groups = list(_statements())
    chosen: list[Statement] = []
    by_balance = sorted(
        (groups[number] for number in rng.permutation(len(groups))),
        key=lambda each: abs(2 * sum(each.is_true(pair.left, pair.right) for pair in pairs) - len(pairs)),
    )
    for statement in by_balance:
        if len(chosen) < STATEMENTS_A_SET and not any(_alike(statement, other) for other in chosen):
            chosen.append(statement)
    return chosen


def _alike(one: Statement, other: Statement) -> bool:
    """Return whether two statements are of one form: only what they are about differs."""
    return one.text.split()[:4] == other.text.split()[:4]


def _statements() -> Iterator[Statement]:
    for name, category in CATEGORIES.items():
        a, many = with_article(name), category.plural
        yield Statement(text=f"Exactly one of the images contains {a}.", is_true=_exactly_one(name))
        yield Statement(text=f"Both images contain at least one {name}.", is_true=_both(name))
        yield Statement(
            text=f"There are more {many} in the left image than in the right one.", is_true=_more_left(name)
        )
        for number in (1, 2, 3):
            words = f"is one {name}" if number == 1 else f"are {NUMBER_WORDS[number]} {many}"
            yield Statement(text=f"In total there {words}.", is_true=_in_total(name, number))
    for name, colour in product(CATEGORIES, COLOURS):
        words = with_article(f"{colour} {name}")
        yield Statement(text=f"One of the images, or both, contains {words}.", is_true=_at_least_one(name, colour))
        yield Statement(text=f"The left image contains {words}.", is_true=_in_left(name, colour))
        yield Statement(text=f"The right image contains {words}.", is_true=_in_right(name, colour))


def _count(scene: Scene, name: str, *attributes: str) -> int:
    return len(fitting(scene.objects, name, attributes))


def _exactly_one(name: str) -> Callable[[Scene, Scene], bool]:
    return lambda left, right: (_count(left, name) > 0) != (_count(right, name) > 0)


def _both(name: str) -> Callable[[Scene, Scene], bool]:
    return lambda left, right: _count(left, name) > 0 and _count(right, name) > 0


def _more_left(name: str) -> Callable[[Scene, Scene], bool]:
    return lambda left, right: _count(left, name) > _count(right, name)


def _in_total(name: str, number: int) -> Callable[[Scene, Scene], bool]:
    return lambda left, right: _count(left, name) + _count(right, name) == number


def _at_least_one(name: str, colour: str) -> Callable[[Scene, Scene], bool]:
    return lambda left, right: _count(left, name, colour) + _count(right, name, colour) > 0


def _in_left(name: str, colour: str) -> Callable[[Scene, Scene], bool]:
    return lambda left, right: _count(left, name, colour) > 0


def _in_right(name: str, colour: str) -> Callable[[Scene, Scene], bool]:
    return lambda left, right: _count(right, name, colour) > 0


def _record(pair: Pair, index: int, statement: Statement) -> Record:
    label = str(statement.is_true(pair.left, pair.right))
    return {
        "validation": {"1": label},
        "sentence": statement.text,
        "left_url": f"images/{pair.left.image_id}.jpg",
        "writer": "1",
        "label": label,
        "right_url": f"images/{pair.right.image_id}.jpg",
        "synset": "toy world",
        "query": "toy world",
        "identifier": f"{pair.name}-{index}",
    }


def _copy(source: Path, target: Path) -> None:
    """Write the picture as PNG, with the pixels that the JPEG file has."""
    target.parent.mkdir(parents=True, exist_ok=True)
    pixels = cv2.imdecode(np.frombuffer(source.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise ValueError(f"{source}: not an image, expected the JPEG file that was just written")
    _, encoded = cv2.imencode(".png", pixels)
    target.write_bytes(encoded.tobytes())
