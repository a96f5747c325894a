"""Small pictures with sentences about them: files, regions that the sentences were aligned with, and grids."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from detectors.records import GridFeatures
from tests.stores.builders import make_store
from tests.training.joined_stores import Spoken, join_stores, make_image, random_word

COLORS = {"red": (220, 30, 30), "green": (30, 200, 60), "blue": (40, 60, 220), "gray": (128, 128, 128)}
GRID = {"detector": {"name": "swin"}}


@dataclass(frozen=True, kw_only=True)
class PixelStores:
    """Where everything is."""

    images: Path
    regions: Path
    sentences: Path
    grids: Path
    """3 x 4 cells of 6 numbers, with the attention of 2 heads."""


def pixel_stores(
    folder: Path,
    *,
    num_images: int = 12,
    captions: int = 5,
    broken: Collection[int] = (),
    missing: Collection[int] = (),
    more: Sequence[Spoken] = (),
) -> PixelStores:
    """Return images of one color each, and what is said of them: captions and a question, and whatever else is given.

    Image n is `n` in two digits. Of those that are broken the file is cut, of those that are missing there is none, nor
    a grid; one image more, `silent`, nobody speaks of.
    """
    draw = np.random.default_rng(0)
    images = folder / "images"
    images.mkdir(parents=True)
    regions, sentences, grids = [], [], []
    for number in [*range(num_images), -1]:
        name = "silent" if number < 0 else f"{number:02d}"
        color = list(COLORS)[number % len(COLORS)]
        if number not in missing:
            path = images / f"{name}.png"
            pixels = np.clip(np.array(COLORS[color]) + draw.normal(0, 20, (40 + number % 7, 60, 3)), 0, 255)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
            if number in broken:
                path.write_bytes(path.read_bytes()[:200])
            attention = draw.random((2, 12, 12)) + 0.1
            grids.append(
                GridFeatures(
                    image_id=name,
                    image_width=60,
                    image_height=40 + number % 7,
                    features=draw.normal(size=(3, 4, 6)).astype(np.float16),
                    attention=(attention / attention.sum(2, keepdims=True)).astype(np.float16),
                )
            )
        if number >= 0:
            regions.append(make_image(name))
            sentences += [
                Spoken(
                    text=f"there is a {color} picture {'very ' * row}here",
                    image_ids=[name],
                    words=[random_word("picture", 4, draw)],
                    source="coco-captions",
                )
                for row in range(captions)
            ]
            sentences.append(
                Spoken(
                    text="what color is the picture?",
                    image_ids=[name],
                    answers={color: 1.0},
                    source="vqa-v2",
                    split="val" if number % 4 == 3 else "train",
                    details={"question_id": str(number), "question_type": "what color", "answer_type": "other"},
                )
            )
    stored, spoken = join_stores(folder / "joined", [regions], [[*sentences, *more]])
    make_store(folder / "grids", [grids], configuration=GRID, content="grid")
    return PixelStores(images=images, regions=stored, sentences=spoken, grids=folder / "grids")


def of_other_tasks() -> list[Spoken]:
    """Return statements about two of twelve images, hypotheses about one, and captions to find the last four by.

    What is said of the last four is of val, all else of train.
    """
    said = []
    for number in range(12):
        color, other_color = (list(COLORS)[each % len(COLORS)] for each in (number, number + 1))
        split = "train" if number < 8 else "val"
        for pair, other in enumerate((number + 4, number + 1)):  # of the same color, and of another
            said.append(
                Spoken(
                    text=f"both pictures are {color}",
                    image_ids=[f"{number:02d}", f"{other % 12:02d}"],
                    answers={("True", "False")[pair]: 1.0},
                    source="nlvr2",
                    split=split,
                    details={"identifier": f"{split}-{number}-{pair}-0", "sentence_group": f"{split}-{number}-0"},
                )
            )
        for label, guess in (("entailment", color), ("contradiction", other_color), ("neutral", "very here")):
            said.append(
                Spoken(
                    text=f"the picture is {guess}",
                    image_ids=[f"{number:02d}"],
                    answers={label: 1.0},
                    source="snli-ve",
                    split=split,
                    details={"pair_id": f"{number:02d}.jpg#0r1{label[0]}"},
                )
            )
    for number, color in enumerate(COLORS, 8):
        caption = f"a picture as {color} as can be"
        said.append(Spoken(text=caption, image_ids=[f"{number:02d}"], source="coco-captions", split="val"))
    return said
