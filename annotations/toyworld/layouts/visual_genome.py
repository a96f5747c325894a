"""Writes scenes as Visual Genome 1.4 has them: one JSON array per kind of record, one element per image."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from annotations.toyworld.layouts.json_files import Record, write_json, write_lines
from annotations.toyworld.marked_text import MarkedText
from annotations.toyworld.questions.question import Question
from annotations.toyworld.scene import Scene
from annotations.toyworld.vocabulary import ATTRIBUTES, CATEGORIES


def write_visual_genome_files(
    folder: Path, scenes: Sequence[Scene], questions: Mapping[int, Sequence[Question]]
) -> None:
    """Write the seven official files, the two vocabularies, and the image ids of each split, into the folder."""
    write_json(folder / "image_data.json", [_image_data(scene) for scene in scenes])
    write_json(folder / "objects.json", [_objects(scene) for scene in scenes])
    write_json(folder / "attributes.json", [_attributes(scene) for scene in scenes])
    write_json(folder / "region_descriptions.json", [_region_descriptions(scene) for scene in scenes])
    write_json(folder / "relationships.json", [_relationships(scene) for scene in scenes])
    write_json(folder / "region_graphs.json", [_region_graphs(scene) for scene in scenes])
    write_json(
        folder / "question_answers.json", [_question_answers(scene, questions[scene.image_id]) for scene in scenes]
    )
    write_lines(folder / "objects_vocab.txt", CATEGORIES)
    write_lines(folder / "attributes_vocab.txt", ATTRIBUTES)
    for split in ("train", "val"):
        write_lines(folder / f"{split}.txt", (str(scene.image_id) for scene in scenes if scene.split == split))


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
    return {"id": scene.image_id, "regions": [_region(scene, index) for index in range(len(scene.descriptions))]}


def _region(scene: Scene, index: int) -> Record:
    description = scene.descriptions[index]
    x, y, width, height = scene.objects[description.subject].box_xywh
    return {
        "region_id": scene.id_of(index),
        "width": width,
        "height": height,
        "image_id": scene.image_id,
        "phrase": description.phrase.text,
        "y": y,
        "x": x,
    }


def _region_graphs(scene: Scene) -> Record:
    """Return the regions with the objects that their phrases name, where they name them, and how these are related."""
    regions = []
    for index, description in enumerate(scene.descriptions):
        named = _named(description.phrase)
        relationships = [
            {
                "relationship_id": scene.id_of(number),
                "predicate": relation.predicate,
                "synsets": [],
                "subject_id": scene.id_of(relation.subject),
                "object_id": scene.id_of(relation.object),
            }
            for number, relation in enumerate(scene.relations)
            if [relation.subject, relation.object] == named and f" {relation.predicate} " in description.phrase.text
        ]
        regions.append(
            _region(scene, index)
            | {
                "synsets": _spans(scene, description.phrase),
                "objects": [_related(scene, each) for each in named],
                "relationships": relationships,
            }
        )
    return {"image_id": scene.image_id, "regions": regions}


def _question_answers(scene: Scene, questions: Sequence[Question]) -> Record:
    """Return the questions with answers as people wrote them: `Red.`"""
    qas = [
        {
            "qa_id": scene.id_of(index),
            "image_id": scene.image_id,
            "question": question.text.text,
            "answer": question.answer.as_sentence().text,
            "q_objects": _named_objects(scene, question.text),
            "a_objects": _named_objects(scene, question.answer),
        }
        for index, question in enumerate(questions)
    ]
    return {"id": scene.image_id, "qas": qas}


def _named(text: MarkedText) -> list[int]:
    return [index for mention in text.mentions for index in mention.objects]


def _named_objects(scene: Scene, text: MarkedText) -> list[Record]:
    """Return the objects that a text names, each with the place of its noun."""
    return [_related(scene, index) | span for index, span in zip(_named(text), _spans(scene, text), strict=True)]


def _spans(scene: Scene, phrase: MarkedText) -> list[Record]:
    """Return where the nouns of a phrase are, each of which names one object."""
    spans = []
    for mention in phrase.mentions:
        start, end = phrase.span_of_noun(mention)
        category = scene.objects[mention.objects[0]].category
        spans.append(
            {
                "entity_idx_start": start,
                "entity_idx_end": end,
                "entity_name": category,
                "synset_name": CATEGORIES[category].synset,
            }
        )
    return spans


def _relationships(scene: Scene) -> Record:
    relationships = [
        {
            "predicate": relation.predicate,
            "object": _related(scene, relation.object),
            "relationship_id": scene.id_of(index),
            "synsets": [],
            "subject": _related(scene, relation.subject),
        }
        for index, relation in enumerate(scene.relations)
    ]
    return {"relationships": relationships, "image_id": scene.image_id}


def _related(scene: Scene, index: int) -> Record:
    """Return an object as relationships name it: with `name`, where objects.json has `names`."""
    category = scene.objects[index].category
    box = _named_box(scene, index)
    del box["names"]
    return box | {"name": category, "synsets": [CATEGORIES[category].synset]}


def _named_box(scene: Scene, index: int) -> Record:
    x, y, width, height = scene.objects[index].box_xywh
    return {
        "object_id": scene.id_of(index),
        "names": [scene.objects[index].category],
        "x": x,
        "y": y,
        "w": width,
        "h": height,
    }
