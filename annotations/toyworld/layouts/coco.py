"""Writes scenes as COCO 2017 has them: instances and captions, one file each per split."""

from collections.abc import Sequence
from pathlib import Path

from annotations.toyworld.layouts.json_files import Record, write_json
from annotations.toyworld.scene import Scene
from annotations.toyworld.vocabulary import CATEGORIES

CATEGORY_IDS = {name: index for index, name in enumerate(CATEGORIES, start=1)}


def write_coco_files(folder: Path, scenes: Sequence[Scene]) -> None:
    """Write `annotations/{instances,captions}_{train,val}2017.json` into the folder."""
    for split in ("train", "val"):
        chosen = [scene for scene in scenes if scene.split == split]
        captions = [record for scene in chosen for record in _captions(scene)]
        path = folder / "annotations"
        write_json(path / f"instances_{split}2017.json", instances(chosen))
        write_json(path / f"captions_{split}2017.json", _common(chosen) | {"annotations": captions})


def instances(scenes: Sequence[Scene]) -> Record:
    """Return the scenes' images, objects and categories, as COCO's instances have them."""
    return _common(scenes) | {
        "annotations": [record for scene in scenes for record in _instances(scene)],
        "categories": [{"supercategory": "thing", "id": number, "name": name} for name, number in CATEGORY_IDS.items()],
    }


def _common(scenes: Sequence[Scene]) -> Record:
    return {
        "info": {"description": "toy world", "version": "1.0", "year": 2017},
        "licenses": [{"id": 1, "name": "drawn by a program", "url": ""}],
        "images": [_image(scene) for scene in scenes],
    }


def _image(scene: Scene) -> Record:
    return {
        "license": 1,
        "file_name": f"{scene.image_id}.jpg",
        "height": scene.height,
        "width": scene.width,
        "id": scene.image_id,
    }


def _instances(scene: Scene) -> list[Record]:
    return [
        {
            "segmentation": [list(outline) for outline in thing.outlines],
            "area": thing.area,
            "iscrowd": 0,
            "image_id": scene.image_id,
            "bbox": list(thing.box_xywh),
            "category_id": CATEGORY_IDS[thing.category],
            "id": scene.id_of(index),
        }
        for index, thing in enumerate(scene.objects)
    ]


def _captions(scene: Scene) -> list[Record]:
    return [
        {"image_id": scene.image_id, "id": scene.id_of(index), "caption": caption.text}
        for index, caption in enumerate(scene.captions)
    ]
