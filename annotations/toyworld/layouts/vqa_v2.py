"""Writes questions and ten answers each as VQA v2 has them: https://visualqa.org."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from annotations.toyworld.layouts.json_files import Record, write_json
from annotations.toyworld.questions.votes import Poll
from annotations.toyworld.scene import Scene

SUBTYPE = "toyworld"
"""The official ones are those of COCO, such as `train2014`; image files are not named COCO_train2014_... here."""


def write_vqa_files(folder: Path, scenes: Sequence[Scene], polls: Mapping[int, Sequence[Poll]]) -> None:
    """Write questions and annotations of train and val into the folder."""
    for split in ("train", "val"):
        asked = [
            (scene, number, poll)
            for scene in scenes
            if scene.split == split
            for number, poll in enumerate(polls[scene.image_id])
        ]
        head: dict[str, Any] = {
            "info": {"description": "toy world", "version": "2.0"},
            "license": {"name": "drawn by a program", "url": ""},
            "data_type": "mscoco",
            "data_subtype": SUBTYPE,
        }
        questions = head | {"task_type": "Open-Ended", "questions": [_question(*each) for each in asked]}
        annotations = head | {"annotations": [_annotation(*each) for each in asked]}
        write_json(folder / f"v2_OpenEnded_mscoco_{split}2014_questions.json", questions)
        write_json(folder / f"v2_mscoco_{split}2014_annotations.json", annotations)


def _question(scene: Scene, number: int, poll: Poll) -> Record:
    return {"image_id": scene.image_id, "question": poll.text, "question_id": scene.id_of(number)}


def _annotation(scene: Scene, number: int, poll: Poll) -> Record:
    return {
        "question_type": poll.question_type,
        "multiple_choice_answer": poll.answer,
        "answers": [
            {"answer": vote, "answer_confidence": "yes" if vote == poll.answer else "maybe", "answer_id": position}
            for position, vote in enumerate(poll.votes, start=1)
        ],
        "image_id": scene.image_id,
        "answer_type": poll.answer_type,
        "question_id": scene.id_of(number),
    }
