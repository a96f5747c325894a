"""Small stores with all that the experiments about attention ask of a toy world: 12 images to train on, 4 for val."""

from dataclasses import replace
from pathlib import Path

from tests.training.grounded_stores import caption, expression, two_captions
from tests.training.joined_stores import CONFIGURATION, Spoken, join_stores, make_image

IMAGES = [make_image(f"image-{number}", first=number) for number in range(10, 30)]
SPLITS = {"train": range(10, 22), "val": range(22, 26), "test": range(26, 30)}
CLASSES = ("first", "second", "third", "last")
"""What the detector calls the regions of every image, in their order."""
RELATIONS = ("above", "to the left of")
EXAMPLES = 4


def _placed(image: int, split: str, region: int) -> Spoken:
    """Return a caption that says something else with its phrases exchanged."""
    spoken = caption(image, split, region)
    return replace(spoken, text=spoken.text.replace("near", "above"))


def _question(image: int, split: str, region: int) -> Spoken:
    return Spoken(
        text=f"what is the {CLASSES[region]}?",
        image_ids=[f"image-{image}"],
        answers={("red", "green")[image % 2]: 1.0},
        source="gqa",
        split=split,
        details={"question_id": f"{image}-{region}", "is_balanced": True, "types": {"structural": "query"}},
    )


def _swap(number: int) -> list[Spoken]:
    """Return an example of Winoground's form about two of the test's images."""
    one, other, relation = CLASSES[number % 4], CLASSES[(number + 1) % 4], RELATIONS[number % 2]
    texts = (f"the {one} is {relation} the {other}", f"the {other} is {relation} the {one}")
    return [
        Spoken(
            text=text,
            image_ids=[f"image-{26 + number % 4}", f"image-{26 + (number + 1) % 4}"],
            answers={str(which): 1.0},
            source="winoground",
            split="test",
            details={"id": str(number), "tag": "Relation", "collapsed_tag": "Relation"},
        )
        for which, text in enumerate(texts)
    ]


SENTENCES = [
    [make(image, split, region) for split, images in SPLITS.items() for image in images for region in range(4)]
    for make in (_placed, two_captions, expression, _question)
]


def experiment_stores(folder: Path) -> tuple[Path, Path]:
    """Return the folders of regions and sentences."""
    examples = [each for number in range(EXAMPLES) for each in _swap(number)]
    configuration = {"detector": {"name": "faster-rcnn", "vocabulary": {"classes": list(CLASSES)}}}
    return join_stores(folder, [IMAGES], [*SENTENCES, examples], configuration=CONFIGURATION | configuration)
