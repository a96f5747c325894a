"""Writes a whole toy world: the pictures, and what the official layouts say about them.

OUT/images/1.jpg ...
OUT/visual_genome/{image_data,objects,attributes,region_descriptions,relationships}.json
OUT/visual_genome/{objects_vocab,attributes_vocab,train,val}.txt
OUT/coco/annotations/{instances,captions}_{train,val}2017.json
"""

from dataclasses import dataclass
from pathlib import Path

import cv2

from annotations.toyworld.coco_files import write_coco_files
from annotations.toyworld.composition import Picture, compose
from annotations.toyworld.scene import Scene
from annotations.toyworld.visual_genome_files import write_visual_genome_files

JPEG_QUALITY = 92


@dataclass(frozen=True, kw_only=True)
class ToyWorldSummary:
    """How much there is of what."""

    num_images: int
    num_objects: int
    num_relations: int
    num_descriptions: int
    num_captions: int


def write_toy_world(out: Path, *, num_images: int, seed: int) -> ToyWorldSummary:
    """Write images 1 ... num_images of world `seed` and their annotations; the same call writes the same bytes."""
    if num_images < 1:
        raise ValueError(f"toy world: num_images is {num_images}, expected at least 1")
    if seed < 0:
        raise ValueError(f"toy world: seed is {seed}, expected 0 or more")
    (out / "images").mkdir(parents=True, exist_ok=True)
    scenes: list[Scene] = []
    for image_id in range(1, num_images + 1):
        picture = compose(seed, image_id)
        (out / "images" / f"{image_id}.jpg").write_bytes(_jpeg(picture))
        scenes.append(picture.scene)
    write_visual_genome_files(out / "visual_genome", scenes)
    write_coco_files(out / "coco", scenes)
    return ToyWorldSummary(
        num_images=num_images,
        num_objects=sum(len(scene.objects) for scene in scenes),
        num_relations=sum(len(scene.relations) for scene in scenes),
        num_descriptions=sum(len(scene.descriptions) for scene in scenes),
        num_captions=sum(len(scene.captions) for scene in scenes),
    )


def _jpeg(picture: Picture) -> bytes:
    pixels_bgr = cv2.cvtColor(picture.pixels_rgb, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", pixels_bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return encoded.tobytes()
