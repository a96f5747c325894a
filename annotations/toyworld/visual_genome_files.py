"""Writes scenes as Visual Genome 1.4 has them: one JSON array per kind of record, one element per image."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from annotations.toyworld.scene import Scene, SceneObject
from annotations.toyworld.vocabulary import ATTRIBUTES, CATEGORIES

Record = dict[str, Any]

# Ids count within an image, so that an image's records do not depend on how many others there are.
IDS_PER_IMAGE = 1000


def write_visual_genome_files(folder: Path, scenes: Sequence[Scene]) -> None:
    """Write the five official files, the two vocabularies, and the image ids of each split, into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "image_data.json", [_image_data(scene) for scene in scenes])
    _write_json(folder / "objects.json", [_objects(scene) for scene in scenes])
    _write_json(folder / "attributes.json", [_attributes(scene) for scene in scenes])
    _write_json(folder / "region_descriptions.json", [_region_descriptions(scene) for scene in scenes])
    _write_json(folder / "relationships.json", [_relationships(scene) for scene in scenes])
    _write_lines(folder / "objects_vocab.txt", CATEGORIES)
    _write_lines(folder / "attributes_vocab.txt", ATTRIBUTES)
    for split in ("train", "val"):
        _write_lines(folder / f"{split}.txt", (str(scene.image_id) for scene in scenes if scene.split == split))


def _image_data(scene: Scene) -> Record:
    return {
        "image_id": scene.image_id,
        "url": f"images/{scene.image_id}.jpg",
        "width": scene.width,
        "height": scene.height,
        "coco_id": scene.image_id,  # the same picture is in the COCO files
        "flickr_id": None,
    }


def _objects(scene: Scene) -> Record:
    objects = [
        _named_box(scene, index) | {"merged_object_ids": [], "synsets": [CATEGORIES[thing.category].synset]}
        for index, thing in enumerate(scene.objects)
    ]
    return {"image_id": scene.image_id, "objects": objects, "image_url": f"images/{scene.image_id}.jpg"}


def _attributes(scene: Scene) -> Record:
    attributes = [
        _named_box(scene, index)
        | {"synsets": [CATEGORIES[thing.category].synset], "attributes": list(thing.attributes)}
        for index, thing in enumerate(scene.objects)
    ]
    return {"image_id": scene.image_id, "attributes": attributes}


def _region_descriptions(scene: Scene) -> Record:
    regions = []
    for index, description in enumerate(scene.descriptions):
        x, y, width, height = scene.objects[description.subject].box_xywh
        regions.append(
            {
                "region_id": scene.image_id * IDS_PER_IMAGE + index,
                "width": width,
                "height": height,
                "image_id": scene.image_id,
                "phrase": description.phrase,
                "y": y,
                "x": x,
            }
        )
    return {"id": scene.image_id, "regions": regions}


def _relationships(scene: Scene) -> Record:
    relationships = [
        {
            "predicate": relation.predicate,
            "object": _related(scene, relation.object),
            "relationship_id": scene.image_id * IDS_PER_IMAGE + index,
            "synsets": [],
            "subject": _related(scene, relation.subject),
        }
        for index, relation in enumerate(scene.relations)
    ]
    return {"relationships": relationships, "image_id": scene.image_id}


def _related(scene: Scene, index: int) -> Record:
    """Return an object as relationships name it: with `name`, where objects.json has `names`."""
    thing: SceneObject = scene.objects[index]
    box = _named_box(scene, index)
    del box["names"]
    return box | {"name": thing.category, "synsets": [CATEGORIES[thing.category].synset]}


def _named_box(scene: Scene, index: int) -> Record:
    thing = scene.objects[index]
    x, y, width, height = thing.box_xywh
    return {
        "object_id": scene.image_id * IDS_PER_IMAGE + index,
        "names": [thing.category],
        "x": x,
        "y": y,
        "w": width,
        "h": height,
    }


def _write_json(path: Path, records: Sequence[Record]) -> None:
    path.write_text(json.dumps(records), encoding="utf-8")


def _write_lines(path: Path, lines: Iterable[str]) -> None:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
