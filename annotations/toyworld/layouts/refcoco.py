"""Writes expressions that single out one object as RefCOCO has them: https://github.com/lichengunc/refer."""

import pickle
from collections.abc import Iterator, Sequence
from pathlib import Path

from annotations.toyworld.layouts.coco import CATEGORY_IDS, instances
from annotations.toyworld.layouts.json_files import Record, write_json
from annotations.toyworld.phrases import describe, fitting
from annotations.toyworld.references import could_be, refer
from annotations.toyworld.scene import Scene

SENTENCES_PER_IMAGE = 100


def write_refcoco_files(folder: Path, scenes: Sequence[Scene]) -> None:
    """Write `refs(unc).p`, a pickle as Python 2 would write it, and `instances.json` into the folder."""
    write_json(folder / "instances.json", instances(scenes))
    refs = [ref for scene in scenes for ref in _refs(scene)]
    (folder / "refs(unc).p").write_bytes(pickle.dumps(refs, protocol=2))


def _refs(scene: Scene) -> Iterator[Record]:
    number = 0
    for index, thing in enumerate(scene.objects):
        if _is_left_out(scene, index):
            continue
        sentences = []
        for words in _expressions(scene, index):
            sent_id = scene.image_id * SENTENCES_PER_IMAGE + number
            sentences.append({"tokens": words.split(" "), "raw": words.capitalize(), "sent_id": sent_id, "sent": words})
            number += 1
        if sentences:
            yield {
                "sent_ids": [sentence["sent_id"] for sentence in sentences],
                "file_name": f"{scene.image_id}_{index}.jpg",  # of a crop
                "ann_id": scene.id_of(index),
                "ref_id": scene.id_of(index),
                "image_id": scene.image_id,
                "split": _split(scene),
                "sentences": sentences,
                "category_id": CATEGORY_IDS[thing.category],
            }


def _is_left_out(scene: Scene, index: int) -> bool:
    """Return whether nobody refers to the object, though it is annotated; RefCOCO leaves out more than half."""
    return len(scene.objects) > 1 and (scene.image_id + index) % 3 == 0


def _expressions(scene: Scene, index: int) -> list[str]:
    """Return up to three: few words, all words, and where it is; none that fits another object too."""
    thing = scene.objects[index]
    expressions = []
    shortest = refer(index, scene.objects)
    if shortest is not None:
        expressions = [shortest.words, describe(thing.category, thing.attributes)]
    for relation in (each for each in scene.relations if each.subject == index):
        other = refer(relation.object, scene.objects)
        alike = fitting(scene.objects, thing.category)
        possible = [each for each in could_be(scene, relation.predicate, relation.object) if each in alike]
        if other is not None and possible == [index]:
            expressions.append(f"{thing.category} {relation.predicate} the {other.words}")
            break
    return list(dict.fromkeys(expressions))


def _split(scene: Scene) -> str:
    """Return one of RefCOCO's four splits; its two tests are of different images here, not of people and things."""
    if scene.split_of_three != "test":
        return scene.split
    return "testB" if scene.image_id % 20 == 0 else "testA"
