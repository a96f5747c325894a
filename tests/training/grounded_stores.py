"""Small stores of the tasks about boxes: expressions, captions with phrases, and pairs of captions.

Every image has 4 regions; sentence k of an image points at region k % 4, whose box is the gold one.
"""

from pathlib import Path

from tests.training.joined_stores import Spoken, Word, join_stores, make_image

IMAGES = [make_image(f"image-{number}", first=number) for number in range(6)]
PLACES = ("first", "second", "third", "last")
SPLITS = {"train": (0, 1, 2), "val": (3, 4), "test": (5,)}


def _word(says: str, region: int, *, shown: bool = True) -> Word:
    """Return a word that points at one of the regions, or at something that all of them miss."""
    position = [float(shown and each == region) for each in range(4)]
    box = tuple(map(float, IMAGES[0].boxes_xyxy[region].tolist())) if shown else (190.0, 90.0, 199.0, 99.0)
    return Word(says=says, position=position, semantic=[0.0] * 4, gold=[box])  # type: ignore[list-item]


def expression(image: int, split: str, region: int) -> Spoken:
    return Spoken(
        text=f"the {PLACES[region]} one",
        image_ids=[f"image-{image}"],
        words=[_word(f"the {PLACES[region]} one", region, shown=region < 3)],
        source="refcoco",
        split=split,
        details={"dataset": "refcoco+", "official_split": split if split != "test" else ("testA", "testB")[region % 2]},
    )


def caption(image: int, split: str, region: int) -> Spoken:
    other = (region + 1) % 4
    return Spoken(
        text=f"the {PLACES[region]} near the {PLACES[other]}",
        image_ids=[f"image-{image}"],
        words=[_word(PLACES[region], region), _word(PLACES[other], other, shown=other < 3)],
        source="flickr30k-entities",
        split=split,
    )


def two_captions(image: int, split: str, region: int) -> Spoken:
    first, second = f"the {PLACES[region]}", f"a thing here that is {PLACES[region - 1]}"
    return Spoken(
        text=f"{first}\n{second}",
        image_ids=[f"image-{image}"],
        words=[_word(PLACES[region], region), _word(PLACES[region - 1], region)],
        source="vgp-entities",
        split=split,
        details={"second": len(first) + 1, "phrase_pairs": [[0, 1, ("Entailment1", "Equivalence")[region % 2]]]},
    )


SENTENCES = [
    [make(image, split, region) for split, images in SPLITS.items() for image in images for region in range(4)]
    for make in (expression, caption, two_captions)
]
TEXTS = [spoken.text for shard in SENTENCES for spoken in shard]


def grounded_stores(folder: Path) -> tuple[Path, Path]:
    """Return the folders of regions and sentences."""
    return join_stores(folder, [IMAGES], SENTENCES)
