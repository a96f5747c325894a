import contextlib
import hashlib
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from annotations.datasets.visual_genome import read_objects
from annotations.guards.drops import Drops
from annotations.toyworld.drawing.composition import compose
from annotations.toyworld.phrases import relate_things
from annotations.toyworld.vocabulary import ATTRIBUTES, CATEGORIES
from annotations.toyworld.world import CAPTIONS, ToyWorldSummary, write_toy_world


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("world")
    write_toy_world(out, num_images=12, seed=4)
    return out


def load(path: Path):
    return json.loads(path.read_text(encoding="utf-8"))


def digests(folder: Path) -> dict[str, str]:
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def open_coco(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def test_the_files_lie_where_the_official_ones_would(world):
    assert sorted(digests(world)) == sorted(
        [f"images/{number}.jpg" for number in range(1, 13)]
        + [
            f"visual_genome/{name}.json"
            for name in (
                *("image_data", "objects", "attributes", "region_descriptions", "relationships"),
                *("region_graphs", "question_answers"),
            )
        ]
        + [f"visual_genome/{name}.txt" for name in ("objects_vocab", "attributes_vocab", "train", "val")]
        + [
            f"coco/annotations/{kind}_{split}2017.json"
            for kind in ("instances", "captions")
            for split in ("train", "val")
        ]
        + [f"gqa/{split}_balanced_questions.json" for split in ("train", "val", "testdev")]
        + [f"gqa/{split}_sceneGraphs.json" for split in ("train", "val")]
        + [f"vqa_v2/v2_OpenEnded_mscoco_{split}2014_questions.json" for split in ("train", "val")]
        + [f"vqa_v2/v2_mscoco_{split}2014_annotations.json" for split in ("train", "val")]
        + [f"nlvr2/{split}.json" for split in ("train", "dev", "test1")]
        + [f"nlvr2/images/train/0/train-0-{pair}-img{side}.png" for pair in range(2) for side in range(2)]
        + [f"flickr30k_entities/{split}.txt" for split in ("train", "val", "test")]
        + [f"flickr30k_entities/Sentences/{number}.txt" for number in range(1, 13)]
        + [f"flickr30k_entities/Annotations/{number}.xml" for number in range(1, 13)]
        + [f"{name}/{split}_data.csv" for name in ("vgp", "flickr30k_entities") for split in ("train", "dev", "test")]
        + ["refcoco/refs(unc).p", "refcoco/instances.json"]
        + [f"snli_ve/snli_ve_{split}.jsonl" for split in ("train", "dev", "test")]
        + ["winoground/examples.jsonl", "vectors/toyworld_vectors.txt"]
        + [f"lxmert/lxmert/{name}.json" for name in ("mscoco_train", "mscoco_minival", "all_ans")]
        + [f"lxmert/vqa/{name}.json" for name in ("train", "minival")]
        + [f"lxmert/gqa/{name}.json" for name in ("train", "valid")]
        + [f"lxmert/{name}/trainval_{table}.json" for name in ("vqa", "gqa") for table in ("ans2label", "label2ans")]
    )


def test_the_same_seed_writes_the_same_bytes_even_over_another_world(world, tmp_path):
    write_toy_world(tmp_path, num_images=12, seed=9)
    other = digests(tmp_path)
    write_toy_world(tmp_path, num_images=12, seed=4)
    assert digests(tmp_path) == digests(world)
    assert other["images/1.jpg"] != digests(world)["images/1.jpg"]


def test_a_smaller_world_is_the_beginning_of_a_larger_one(world, tmp_path):
    write_toy_world(tmp_path, num_images=5, seed=4)
    for name in (
        *("objects", "attributes", "relationships", "region_descriptions", "image_data"),
        *("region_graphs", "question_answers"),
    ):
        assert load(tmp_path / f"visual_genome/{name}.json") == load(world / f"visual_genome/{name}.json")[:5]
    name = "gqa/train_balanced_questions.json"
    assert load(tmp_path / name).items() <= load(world / name).items()
    small, large = digests(tmp_path), digests(world)
    for name in ("images/{}.jpg", "flickr30k_entities/Sentences/{}.txt", "flickr30k_entities/Annotations/{}.xml"):
        assert all(small[name.format(number)] == large[name.format(number)] for number in range(1, 6))


def test_the_summary_counts_what_was_written(world, tmp_path):
    summary = write_toy_world(tmp_path, num_images=2, seed=4)
    objects = load(tmp_path / "visual_genome/objects.json")
    relationships = load(tmp_path / "visual_genome/relationships.json")
    regions = load(tmp_path / "visual_genome/region_descriptions.json")
    assert summary == ToyWorldSummary(
        num_images=2,
        num_objects=sum(len(record["objects"]) for record in objects),
        num_relations=sum(len(record["relationships"]) for record in relationships),
        num_descriptions=sum(len(record["regions"]) for record in regions),
        num_captions=10,
        num_questions=len(load(tmp_path / "gqa/train_balanced_questions.json")),
        num_polls=10,
    )


@pytest.mark.parametrize(("num_images", "seed"), [(0, 1), (3, -1)])
def test_an_impossible_world_is_refused_before_anything_is_written(tmp_path, num_images, seed):
    with pytest.raises(ValueError, match=r"toy world: (num_images is 0|seed is -1), expected"):
        write_toy_world(tmp_path / "world", num_images=num_images, seed=seed)
    assert not (tmp_path / "world").exists()


def test_images_have_the_sizes_that_image_data_gives(world):
    for record in load(world / "visual_genome/image_data.json"):
        pixels = cv2.imread(str(world / "images" / f"{record['image_id']}.jpg"))
        assert pixels.shape == (record["height"], record["width"], 3)


def test_our_reader_reads_what_was_drawn(world):
    drops = Drops(strict=True)
    images = list(read_objects(world / "visual_genome", drops=drops))
    assert [image.image_id for image in images] == [str(number) for number in range(1, 13)]
    scene = compose(4, 7).scene
    read = [(thing.names, thing.attributes, thing.box_xyxy) for thing in images[6].objects]
    assert read == [
        ((thing.category,), thing.attributes, (float(x), float(y), float(x + width), float(y + height)))
        for thing in scene.objects
        for x, y, width, height in [thing.box_xywh]
    ]


def test_records_have_the_official_fields(world):
    objects = load(world / "visual_genome/objects.json")[0]["objects"]
    attributes = load(world / "visual_genome/attributes.json")[0]["attributes"]
    region = load(world / "visual_genome/region_descriptions.json")[0]["regions"][0]
    relation = load(world / "visual_genome/relationships.json")[0]["relationships"][0]
    assert set(objects[0]) == {"synsets", "h", "object_id", "merged_object_ids", "names", "w", "y", "x"}
    assert set(attributes[0]) == {"synsets", "h", "object_id", "names", "w", "attributes", "y", "x"}
    assert set(region) == {"region_id", "width", "height", "image_id", "phrase", "y", "x"}
    assert set(relation) == {"predicate", "object", "relationship_id", "synsets", "subject"}
    assert set(relation["subject"]) == {"name", "h", "synsets", "object_id", "w", "y", "x"}


def test_ids_are_unique_and_relations_name_objects_of_their_image(world):
    objects = load(world / "visual_genome/objects.json")
    object_ids = [each["object_id"] for record in objects for each in record["objects"]]
    assert len(set(object_ids)) == len(object_ids)
    regions = load(world / "visual_genome/region_descriptions.json")
    region_ids = [each["region_id"] for record in regions for each in record["regions"]]
    assert len(set(region_ids)) == len(region_ids)
    for record, own in zip(load(world / "visual_genome/relationships.json"), objects, strict=True):
        known = {each["object_id"] for each in own["objects"]}
        for relation in record["relationships"]:
            assert {relation["subject"]["object_id"], relation["object"]["object_id"]} <= known


def test_splits_and_vocabularies_are_lists_of_lines(world):
    folder = world / "visual_genome"
    assert (folder / "train.txt").read_text().split() == ["1", "2", "3", "4", "6", "7", "8", "9", "11", "12"]
    assert (folder / "val.txt").read_text().split() == ["5", "10"]
    assert (folder / "objects_vocab.txt").read_text().splitlines() == sorted(CATEGORIES)
    assert (folder / "attributes_vocab.txt").read_text().splitlines() == list(ATTRIBUTES)


def test_pycocotools_reads_the_instances(world):
    train = open_coco(world / "coco/annotations/instances_train2017.json")
    val = open_coco(world / "coco/annotations/instances_val2017.json")
    assert sorted([*train.getImgIds(), *val.getImgIds()]) == list(range(1, 13))
    assert val.getImgIds() == [5, 10]
    assert [category["name"] for category in train.loadCats(train.getCatIds())] == sorted(CATEGORIES)
    for annotation in train.loadAnns(train.getAnnIds()):
        mask = train.annToMask(annotation)
        x, y, width, height = annotation["bbox"]
        assert mask.sum() == mask[y : y + height, x : x + width].sum()
        # Polygons run through pixel centres, which makes them smaller, and fill holes, which makes them larger.
        assert 0.6 < mask.sum() / annotation["area"] < 1.6, annotation


def test_pycocotools_reads_five_captions_an_image(world):
    captions = open_coco(world / "coco/annotations/captions_val2017.json")
    for image_id in captions.getImgIds():
        texts = [each["caption"] for each in captions.loadAnns(captions.getAnnIds(imgIds=image_id))]
        assert len(texts) == 5
        assert all(text.endswith(".") and text[0].isupper() for text in texts)


def test_captions_of_relations_change_entities_alone_and_say_what_is_true(world, tmp_path):
    write_toy_world(tmp_path, num_images=12, seed=4, entities="relations")
    changed = {name for name, digest in digests(tmp_path).items() if digests(world)[name] != digest}
    assert changed <= {name for name in digests(world) if name.startswith(("flickr30k_entities/", "vgp/"))}
    assert not changed & {f"flickr30k_entities/{split}.txt" for split in ("train", "val", "test")}
    for number in range(1, 13):
        scene = compose(4, number).scene
        names = [thing.category for thing in scene.objects]
        true = {(names[each.subject], each.predicate, names[each.object]) for each in scene.relations}
        lines = (tmp_path / f"flickr30k_entities/Sentences/{number}.txt").read_text().splitlines()
        told = []
        for line in lines:
            subject, predicate, other = re.fullmatch(r"\[\S+ an? (\w+)\] (.+) \[\S+ an? (\w+)\]", line).groups()
            told.append((subject, predicate, other))
            boxes = [int(entity) - scene.id_of(0) for entity in re.findall(r"/EN#(\d+)/", line)]
            assert [names[index] for index in boxes] == [subject, other] and subject != other
        assert set(told) <= true and len(set(told)) == len(told) <= 5


def test_things_of_one_name_leave_the_captions_of_the_scene():
    scene = compose(4, 1).scene
    alike = replace(scene, objects=tuple(replace(thing, category="tree") for thing in scene.objects))
    assert relate_things(alike, np.random.default_rng(0)) == ()
    assert CAPTIONS["relations"](alike, 4) == scene.captions
