"""Writes sentences and soft labels in LXMERT's own JSON: https://github.com/airsplay/lxmert.

FOLDER/lxmert/mscoco_{train,minival}.json    all sentences of an image, for pre-training
FOLDER/lxmert/all_ans.json                   the answers of pre-training
FOLDER/{vqa,gqa}/*.json                      a question each; trainval_{ans2label,label2ans}.json number the answers
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from annotations.toyworld.layouts.gqa import question_id
from annotations.toyworld.layouts.json_files import Record, write_json
from annotations.toyworld.questions.question import Question
from annotations.toyworld.questions.votes import ANSWERS, NUMBERS, Poll
from annotations.toyworld.scene import Scene

SOFT_SCORES = (0.0, 0.3, 0.6, 0.9)
"""Score of an answer that this many of ten people gave; 1 if more did."""

_SPLITS = {"train": ("train", "train", "train"), "val": ("minival", "minival", "valid")}
"""What the files of a split are called: for pre-training, VQA, GQA."""


def write_lxmert_files(
    folder: Path,
    scenes: Sequence[Scene],
    questions: Mapping[int, Sequence[Question]],
    polls: Mapping[int, Sequence[Poll]],
) -> None:
    """Write the files named above."""
    for split, (pretraining, vqa, gqa) in _SPLITS.items():
        chosen = [(scene, questions[scene.image_id], polls[scene.image_id]) for scene in scenes if scene.split == split]
        write_json(folder / "lxmert" / f"mscoco_{pretraining}.json", [_image(*each) for each in chosen])
        write_json(
            folder / "vqa" / f"{vqa}.json", [record for scene, _, held in chosen for record in _vqa(scene, held)]
        )
        write_json(
            folder / "gqa" / f"{gqa}.json", [record for scene, asked, _ in chosen for record in _gqa(scene, asked)]
        )
    both = [{"ans": answer, "dsets": ["vqa", "gqa"]} for answer in ANSWERS]
    write_json(folder / "lxmert" / "all_ans.json", [*both, *({"ans": answer, "dsets": ["vqa"]} for answer in NUMBERS)])
    for name, answers in (("vqa", (*ANSWERS, *NUMBERS)), ("gqa", ANSWERS)):
        write_json(folder / name / "trainval_label2ans.json", answers)
        write_json(folder / name / "trainval_ans2label.json", {answer: label for label, answer in enumerate(answers)})


def _image(scene: Scene, questions: Sequence[Question], polls: Sequence[Poll]) -> Record:
    return {
        "img_id": str(scene.image_id),
        "sentf": {
            "mscoco": [caption.text for caption in scene.captions],
            "vqa": [poll.text for poll in polls],
            "gqa": [question.text.text for question in questions],
        },
        "labelf": {
            "vqa": [soft_label(poll.votes) for poll in polls],
            "gqa": [{question.answer.text: 1.0} for question in questions],
        },
    }


def _vqa(scene: Scene, polls: Sequence[Poll]) -> list[Record]:
    return [
        {
            "answer_type": poll.answer_type,
            "img_id": str(scene.image_id),
            "label": soft_label(poll.votes),
            "question_id": scene.id_of(number),
            "question_type": poll.question_type,
            "sent": poll.text,
        }
        for number, poll in enumerate(polls)
    ]


def _gqa(scene: Scene, questions: Sequence[Question]) -> list[Record]:
    return [
        {
            "img_id": str(scene.image_id),
            "label": {question.answer.text: 1.0},
            "question_id": question_id(scene, number),
            "sent": question.text.text,
        }
        for number, question in enumerate(questions)
    ]


def soft_label(votes: Sequence[str]) -> dict[str, float]:
    """Return every answer's score, as VQA's accuracy gives it."""
    return {answer: SOFT_SCORES[count] if count < len(SOFT_SCORES) else 1.0 for answer, count in Counter(votes).items()}
