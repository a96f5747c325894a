"""Writes scenes as COCO 2017 has them: instances and captions, one file each per split."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from annotations.toyworld.scene import Scene
from annotations.toyworld.vocabulary import CATEGORIES

Record = dict[str, Any]

CATEGORY_IDS = {name: index for index, name in enumerate(CATEGORIES, start=1)}
IDS_PER_IMAGE = 1000  # ids count within an image, so that they do not depend on how many images there are


def write_coco_files(folder: Path, scenes: Sequence[Scene]) -> None:
    """Write `annotations/{instances,captions}_{train,val}2017.json` into the folder."""
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for split in ("train", "val"):
        chosen = [scene for scene in scenes if scene.split == split]
        common = {
            "info": {"description": "toy world", "version": "1.0", "year": 2017},
            "licenses": [{"id": 1, "name": "drawn by a program", "url": ""}],
            "images": [_image(scene) for scene in chosen],
        }
        instances = common | {
            "annotations": [record for scene in chosen for record in _instances(scene)],
            "categories": [
                {"supercategory": "thing", "id": number, "name": name} for name, number in CATEGORY_IDS.items()
            ],
        }
        captions = common | {"annotations": [record for scene in chosen for record in _captions(scene)]}
        for kind, content in (("instances", instances), ("captions", captions)):
            path = folder / "annotations" / f"{kind}_{split}2017.json"
            path.write_text(json.dumps(content), encoding="utf-8")


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
            "id": scene.image_id * IDS_PER_IMAGE + index,
        }
        for index, thing in enumerate(scene.objects)
    ]


def _captions(scene: Scene) -> list[Record]:
    return [
        {"image_id": scene.image_id, "id": scene.image_id * IDS_PER_IMAGE + index, "caption": caption}
        for index, caption in enumerate(scene.captions)
    ]
