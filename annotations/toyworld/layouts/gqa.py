"""Writes questions and scene graphs as GQA has them: https://cs.stanford.edu/people/dorarad/gqa/about.html.

Half of the images for validation are testdev here. Their scene graphs are in the file of val, which the official one
has not, so that the words of their questions can be followed to boxes too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from annotations.toyworld.layouts.json_files import Record, write_json
from annotations.toyworld.marked_text import MarkedText, Mention
from annotations.toyworld.questions.question import Question
from annotations.toyworld.scene import Scene

SPLITS = {"train": "train", "val": "val", "testdev": "test"}


def write_gqa_files(folder: Path, scenes: Sequence[Scene], questions: Mapping[int, Sequence[Question]]) -> None:
    """Write `{train,val,testdev}_balanced_questions.json` and `{train,val}_sceneGraphs.json` into the folder."""
    for name, split in SPLITS.items():
        records = {
            question_id(scene, number): _question(scene, question)
            for scene in scenes
            if scene.split_of_three == split
            for number, question in enumerate(questions[scene.image_id])
        }
        write_json(folder / f"{name}_balanced_questions.json", records)
    for split in ("train", "val"):
        graphs = {str(scene.image_id): _scene_graph(scene) for scene in scenes if scene.split == split}
        write_json(folder / f"{split}_sceneGraphs.json", graphs)


def question_id(scene: Scene, number: int) -> str:
    """Return the id of one of the scene's questions: eight digits."""
    return f"{scene.id_of(number):08d}"


def _question(scene: Scene, question: Question) -> Record:
    return {
        "semantic": [
            {"operation": step.operation, "dependencies": list(step.dependencies), "argument": step.argument}
            for step in question.program
        ],
        "entailed": [question_id(scene, number) for number in question.entailed],
        "equivalent": [question_id(scene, number) for number in question.equivalent],
        "question": question.text.text,
        "imageId": str(scene.image_id),
        "isBalanced": True,
        "groups": {"global": question.global_group, "local": question.local_group},
        "answer": question.answer.text,
        "semanticStr": "->".join(
            f"{step.operation}: {step.argument}{f' {list(step.dependencies)}' if step.dependencies else ''}"
            for step in question.program
        ),
        "annotations": {
            "answer": _pointers(scene, question.answer),
            "question": _pointers(scene, question.text),
            "fullAnswer": _pointers(scene, question.full_answer),
        },
        "types": {
            "detailed": question.detailed,
            "semantic": question.semantic,
            "structural": question.structural,
        },
        "fullAnswer": question.full_answer.text,
    }


def _pointers(scene: Scene, text: MarkedText) -> dict[str, str]:
    return {_words(text, mention): str(scene.id_of(mention.objects[0])) for mention in text.mentions}


def _words(text: MarkedText, mention: Mention) -> str:
    """Return `4` or `4:6`: numbers of the words between spaces; punctuation never stands alone here."""
    first = text.text.count(" ", 0, mention.start)
    number = text.words_of(mention).count(" ") + 1
    return str(first) if number == 1 else f"{first}:{first + number}"


def _scene_graph(scene: Scene) -> Record:
    objects = {}
    for index, thing in enumerate(scene.objects):
        x, y, width, height = thing.box_xywh
        objects[str(scene.id_of(index))] = {
            "name": thing.category,
            "x": x,
            "y": y,
            "w": width,
            "h": height,
            "attributes": list(thing.attributes),
            "relations": [
                {"name": relation.predicate, "object": str(scene.id_of(relation.object))}
                for relation in scene.relations
                if relation.subject == index
            ],
        }
    return {"width": scene.width, "height": scene.height, "objects": objects}
