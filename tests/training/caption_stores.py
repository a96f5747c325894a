"""Small stores with captions that tell images apart, and with examples as Winoground has them."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np

from detectors.records import RegionFeatures
from tests.training.joined_stores import Spoken, join_stores, make_image

COLORS, SHAPES = ("red", "green", "blue", "gray"), ("cube", "ball", "stool")
KINDS = list(product(COLORS, SHAPES))
"""What each image shows; image n and image n + 12 show the same, the first is trained on."""


def _image(number: int) -> RegionFeatures:
    color, shape = KINDS[number % len(KINDS)]
    features = np.zeros((2 + number % 3, 6), np.float16)
    features[:, COLORS.index(color)] = 2
    features[:, 4:] = SHAPES.index(shape) - 1
    features += 0.1 * np.random.default_rng(number).normal(size=features.shape).astype(np.float16)
    return replace(make_image(f"image-{number:02d}", num_boxes=len(features)), features=features)


def _captions(number: int) -> list[Spoken]:
    color, shape = KINDS[number % len(KINDS)]
    texts = (f"a {color} {shape}", f"the little {shape} is {color}", f"there is one {color} {shape} here")
    return [
        Spoken(
            text=text,
            image_ids=[f"image-{number:02d}"],
            source="flickr30k-entities",
            split="train" if number < len(KINDS) else "val",
        )
        for text in texts[: 3 - number % 2]
    ]


def _example(number: int) -> list[Spoken]:
    one, other = 2 * number, 2 * number + 1
    details = {"id": str(number), "tag": f"Noun-{number % 2}", "collapsed_tag": "Object"}
    return [
        Spoken(
            text=f"the {KINDS[said][0]} {KINDS[said][1]} is not the {KINDS[unsaid][0]} {KINDS[unsaid][1]}",
            image_ids=[f"image-{one:02d}", f"image-{other:02d}"],
            answers={str(which): 1.0},
            source="winoground",
            split="test",
            details=details,
        )
        for which, (said, unsaid) in enumerate([(one, other), (other, one)])
    ]


IMAGES = [_image(number) for number in range(2 * len(KINDS))]


def caption_stores(folder: Path) -> tuple[Path, Path]:
    """Return the folders of regions and sentences: 30 captions of 12 images to train on, as many for val, 5 examples.

    Images are in the order of their numbers; their captions are not.
    """
    captions = [each for number in range(len(IMAGES)) for each in _captions(number)]
    order = np.random.default_rng(0).permutation(len(captions))
    examples = [each for number in range(5) for each in _example(number)]
    return join_stores(folder, [IMAGES[:10], IMAGES[10:]], [[captions[place] for place in order], examples])
