"""Small stores with questions of every task, and runs of any task whose answers differ from image to image."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from annotations.answers import AnswerVocabulary
from detectors.records import RegionFeatures
from tests.training.builders import SHAPE, SIZES
from tests.training.joined_stores import Spoken, Word, join_stores, make_image
from training.data.batches import BatchOptions
from training.data.tokenizer import train_tokenizer
from training.objectives.catalog import Objectives
from training.objectives.word_object_alignment import AlignmentOptions
from training.runs.checkpoints import save_checkpoint
from training.runs.folder import Run, begin_run
from training.runs.optimizers import Optimization
from training.runs.recipes import Recipe
from training.tasks.catalog import TASKS
from training.weights.ours import build_model

COLORS = ("red", "green", "blue", "gray", "2")
"""What questions are answered with; also a run's table of answers, unless it is told otherwise."""


def _image(number: int) -> RegionFeatures:
    drawn = np.random.default_rng(number).normal(size=(2 + number % 3, 6)).astype(np.float16)
    return replace(make_image(f"image-{number}", num_boxes=len(drawn)), features=drawn)


IMAGES = [[_image(number) for number in range(6)]]


def _question(number: int, source: str, split: str, answers: dict[str, float], **details: Any) -> Spoken:
    words = "what color is the " + ("little " * (number % 4)) + ("cube" if number % 2 else "ball")
    return Spoken(
        text=f"{words}?",
        image_ids=[f"image-{number % 6}"],
        words=[Word(says="color", position=[0.9] + [0.0] * 3, semantic=[0.5] * 4)] if not number % 5 else (),
        answers=answers,
        source=source,
        split=split,
        details={"question_id": str(1000 + number), **details},
    )


def _vqa(number: int, split: str) -> Spoken:
    best, other = COLORS[number % 5], COLORS[(number + 1) % 5]
    given = {"answers": {best: 1.0, other: 0.3}, "answer_type": "other", "question_type": "what color"}
    return _question(number, "vqa-v2", split, **(given if split != "test" else {"answers": {}}))  # type: ignore[arg-type]


def _gqa(number: int, split: str) -> Spoken:
    return _question(
        number,
        "gqa",
        split,
        {COLORS[number % 3]: 1.0},
        is_balanced=number % 4 > 0,
        types={"structural": "query" if number % 2 else "verify", "semantic": "attr", "detailed": "attrChoose"},
        groups={"global": "color"},
        entailed=[str(1000 + number + 1)] if number % 3 else [],
    )


def _statement(number: int, split: str) -> Spoken:
    return Spoken(
        text=f"there {'is one' if number % 2 else 'are two'} red cube{'s' * (number % 3)}",
        image_ids=[f"image-{number % 6}", f"image-{(number + 1 + number % 2) % 6}"],
        answers={} if split == "test" else {("True", "False")[number % 2]: 1.0},
        source="nlvr2",
        split=split,
        details={"identifier": f"{split}-{number}-0-0", "sentence_group": f"{split}-{number // 2}"},
    )


SENTENCES = [
    [make(number, split) for split in ("train", "val", "test") for number in range(12)]
    for make in (_vqa, _gqa, _statement)
]
TEXTS = [spoken.text for shard in SENTENCES for spoken in shard]


def task_stores(folder: Path) -> tuple[Path, Path]:
    """Return the folders of regions and sentences: 12 of each task for each split; GQA's have answers in all."""
    return join_stores(folder, IMAGES, SENTENCES)


def make_task_run(
    folder: Path, *, task: str = "pretraining", answers: Sequence[str] = COLORS, seed: int = 0, **changes: Any
) -> Run:
    """Return a run whose weights are so large that its answers differ; `changes` are of its recipe."""
    tokenizer = train_tokenizer(TEXTS, vocab_size=60)
    recipe = Recipe(
        task=task,
        encoder=replace(SHAPE, vocab_size=tokenizer.vocab_size, dropout=0.0, attention_dropout=0.0),
        sizes=replace(SIZES, vocab_size=tokenizer.vocab_size, num_answers=len(answers)),
        objectives=TASKS[task].objectives
        if task in TASKS
        else Objectives(word_object_alignment=AlignmentOptions(joint_size=4)),
        batches=replace(TASKS[task].batches if task in TASKS else BatchOptions(), max_pieces=16),
        optimization=Optimization(),
        sources=("vqa-v2",),
        batch_size=4,
        num_steps=20,
        precision="float32",
        seed=seed,
        data={},
    )
    run = begin_run(folder, replace(recipe, **changes), tokenizer, AnswerVocabulary(answers=tuple(answers)))
    model, draw = build_model(run), torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weights in model.parameters():
            if weights.dim() > 1:
                weights.copy_(0.5 * torch.randn(weights.shape, generator=draw))
    save_checkpoint(folder, step=20, model=model, optimizer=None)
    return run
