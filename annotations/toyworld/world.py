"""Writes a whole toy world: the pictures, and what the official layouts say about them.

OUT/images/1.jpg ...
OUT/visual_genome/{image_data,objects,attributes,region_descriptions,relationships}.json
OUT/visual_genome/{region_graphs,question_answers}.json
OUT/visual_genome/{objects_vocab,attributes_vocab,train,val}.txt
OUT/coco/annotations/{instances,captions}_{train,val}2017.json
OUT/gqa/{train,val,testdev}_balanced_questions.json, {train,val}_sceneGraphs.json
OUT/vqa_v2/v2_OpenEnded_mscoco_{train,val}2014_questions.json, v2_mscoco_{train,val}2014_annotations.json
OUT/nlvr2/{train,dev,test1}.json, images/
OUT/flickr30k_entities/Sentences/, Annotations/, {train,val,test}.txt, {train,dev,test}_data.csv of VGP
OUT/vgp/{train,dev,test}_data.csv
OUT/refcoco/refs(unc).p, instances.json
OUT/snli_ve/snli_ve_{train,dev,test}.jsonl
OUT/winoground/examples.jsonl
OUT/lxmert/{lxmert,vqa,gqa}/*.json
OUT/vectors/toyworld_vectors.txt

Every fifth picture is for evaluation in all of them; which of these are val and which are test differs.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2

from annotations.toyworld.drawing.composition import Picture, compose
from annotations.toyworld.layouts.coco import write_coco_files
from annotations.toyworld.layouts.flickr30k_entities import write_flickr30k_entities_files
from annotations.toyworld.layouts.gqa import write_gqa_files
from annotations.toyworld.layouts.lxmert import write_lxmert_files
from annotations.toyworld.layouts.nlvr2 import write_nlvr2_files
from annotations.toyworld.layouts.refcoco import write_refcoco_files
from annotations.toyworld.layouts.snli_ve import write_snli_ve_files
from annotations.toyworld.layouts.vectors import write_vectors_file
from annotations.toyworld.layouts.vgp import write_vgp_files
from annotations.toyworld.layouts.visual_genome import write_visual_genome_files
from annotations.toyworld.layouts.vqa_v2 import write_vqa_files
from annotations.toyworld.layouts.winoground import write_winoground_files
from annotations.toyworld.marked_text import MarkedText
from annotations.toyworld.paraphrases import reword
from annotations.toyworld.phrases import relate_things
from annotations.toyworld.questions.interview import ask
from annotations.toyworld.questions.votes import hold_polls
from annotations.toyworld.random_streams import random_stream
from annotations.toyworld.scene import Scene

JPEG_QUALITY = 92

EntitiesCaptions = Literal["scenes", "relations"]


@dataclass(frozen=True, kw_only=True)
class ToyWorldSummary:
    """How much there is of what."""

    num_images: int
    num_objects: int
    num_relations: int
    num_descriptions: int
    num_captions: int
    num_questions: int
    num_polls: int
    """Questions that ten people answered."""


def write_toy_world(out: Path, *, num_images: int, seed: int, entities: EntitiesCaptions = "scenes") -> ToyWorldSummary:
    """Write images 1 ... num_images of world `seed` and their annotations; the same call writes the same bytes.

    `entities` are the captions of Flickr30k Entities: of whole scenes, or relations of things by their names alone,
    so that many other images show the same things.
    """
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
    questions = {scene.image_id: ask(scene, random_stream("questions", seed, scene.image_id)) for scene in scenes}
    polls = {
        scene.image_id: hold_polls(scene, questions[scene.image_id], random_stream("votes", seed, scene.image_id))
        for scene in scenes
    }
    captions = {scene.image_id: CAPTIONS[entities](scene, seed) for scene in scenes}
    write_visual_genome_files(out / "visual_genome", scenes, questions)
    write_coco_files(out / "coco", scenes)
    write_gqa_files(out / "gqa", scenes, questions)
    write_vqa_files(out / "vqa_v2", scenes, polls)
    write_nlvr2_files(out / "nlvr2", out / "images", scenes, seed)
    write_flickr30k_entities_files(out / "flickr30k_entities", scenes, captions)
    for folder in ("vgp", "flickr30k_entities"):  # alone, and where the captions are whose phrases they are about
        write_vgp_files(out / folder, scenes, captions)
    write_refcoco_files(out / "refcoco", scenes)
    write_snli_ve_files(out / "snli_ve", scenes, seed)
    write_winoground_files(out / "winoground", scenes)
    write_lxmert_files(out / "lxmert", scenes, questions, polls)
    write_vectors_file(out / "vectors" / "toyworld_vectors.txt")
    return ToyWorldSummary(
        num_images=num_images,
        num_objects=sum(len(scene.objects) for scene in scenes),
        num_relations=sum(len(scene.relations) for scene in scenes),
        num_descriptions=sum(len(scene.descriptions) for scene in scenes),
        num_captions=sum(len(scene.captions) for scene in scenes),
        num_questions=sum(map(len, questions.values())),
        num_polls=sum(map(len, polls.values())),
    )


def _reworded_captions(scene: Scene, seed: int) -> tuple[MarkedText, ...]:
    """Return the captions as five people would write them who do not use the same words."""
    first, *others = scene.captions
    rng = random_stream("rewording", seed, scene.image_id)
    return first, *(reword(caption, scene, rng) for caption in others)


def _relations(scene: Scene, seed: int) -> tuple[MarkedText, ...]:
    return relate_things(scene, random_stream("relations", seed, scene.image_id)) or scene.captions


CAPTIONS: dict[EntitiesCaptions, Callable[[Scene, int], tuple[MarkedText, ...]]] = {
    "scenes": _reworded_captions,
    "relations": _relations,
}
"""Captions of Flickr30k Entities, from a scene and the world's seed."""


def _jpeg(picture: Picture) -> bytes:
    pixels_bgr = cv2.cvtColor(picture.pixels_rgb, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode(".jpg", pixels_bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return encoded.tobytes()
