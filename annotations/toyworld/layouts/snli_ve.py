"""Writes a caption and a hypothesis about its picture as SNLI-VE has them: https://github.com/necla-ml/SNLI-VE."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from annotations.toyworld.facts import CONVERSE
from annotations.toyworld.layouts.json_files import Record, write_json_lines
from annotations.toyworld.marked_text import read_marks
from annotations.toyworld.phrases import NUMBER_WORDS, fitting, with_article
from annotations.toyworld.random_streams import random_stream
from annotations.toyworld.references import refer
from annotations.toyworld.scene import Scene
from annotations.toyworld.vocabulary import CATEGORIES, COLOURS

_SPLITS = {"train": "train", "dev": "val", "test": "test"}
_UNKNOWN = (
    "the {} is older than it looks",
    "the {} belongs to a teacher",
    "somebody will take the {} away tomorrow",
    "a child likes the {} very much",
)
"""What no picture shows."""


def write_snli_ve_files(folder: Path, scenes: Sequence[Scene], seed: int) -> None:
    """Write `snli_ve_{train,dev,test}.jsonl`: for each caption one hypothesis that it entails, and two others."""
    for name, split in _SPLITS.items():
        records = [
            record
            for scene in scenes
            if scene.split_of_three == split
            for record in _records(scene, random_stream("hypotheses", seed, scene.image_id))
        ]
        write_json_lines(folder / f"snli_ve_{name}.jsonl", records)


def _records(scene: Scene, rng: np.random.Generator) -> list[Record]:
    records = []
    for number, caption in enumerate(scene.captions):
        # Hypotheses are about something that the caption mentions by itself.
        subjects = [mention.objects[0] for mention in caption.mentions if len(mention.objects) == 1] or [0]
        for label, hypotheses in (
            ("entailment", _true(scene, subjects)),
            ("neutral", _undecided(scene, subjects)),
            ("contradiction", _false(scene, subjects)),
        ):
            caption_id = f"{scene.image_id}.jpg#{number}"
            records.append(
                {
                    "annotator_labels": [label],
                    "captionID": caption_id,
                    "gold_label": label,
                    "pairID": f"{caption_id}r1{label[0]}",
                    "sentence1": caption.text,
                    "sentence2": hypotheses[int(rng.integers(len(hypotheses)))],
                    "Flikr30kID": str(scene.image_id),
                }
            )
    return records


def _true(scene: Scene, subjects: Sequence[int]) -> list[str]:
    found = []
    for index in subjects:
        thing = scene.objects[index]
        found.append(f"there is {with_article(f'{thing.colour} {thing.category}')}")
        found.append(f"{with_article(thing.category)} is {thing.colour}")
    for relation in scene.relations:
        if relation.subject in subjects:
            names = [with_article(scene.objects[each].category) for each in (relation.subject, relation.object)]
            found.append(f"{names[0]} is {relation.predicate} {names[1]}")
    return _sentences(found)


def _undecided(scene: Scene, subjects: Sequence[int]) -> list[str]:
    return _sentences([each.format(scene.objects[index].category) for index in subjects for each in _UNKNOWN])


def _false(scene: Scene, subjects: Sequence[int]) -> list[str]:
    found = []
    for index in subjects:
        thing = scene.objects[index]
        count = len(fitting(scene.objects, thing.category))
        found.append(f"there is no {thing.category}")
        wrong = NUMBER_WORDS[count + 2 if count <= 4 else 2]
        found.append(f"there are {wrong} {CATEGORIES[thing.category].plural}")
        the = refer(index, scene.objects, avoid=COLOURS)
        if the is not None:
            found += [f"the {the.words} is {colour}" for colour in COLOURS if colour != thing.colour][:3]
        for relation in scene.relations:
            one, other = refer(relation.subject, scene.objects), refer(relation.object, scene.objects)
            converse = CONVERSE.get(relation.predicate, relation.predicate)
            if relation.subject == index and one and other and converse != relation.predicate:
                found.append(f"the {one.words} is {converse} the {other.words}")
    return _sentences(found)


def _sentences(texts: Sequence[str]) -> list[str]:
    return [read_marks(text).as_sentence().text for text in texts]
