"""Runs that never trained: a folder with a recipe, a tokenizer and one checkpoint, for what reads runs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from annotations.answers import AnswerVocabulary
from tests.training.builders import SHAPE, SIZES
from training.data.batches import BatchOptions
from training.data.tokenizer import train_tokenizer
from training.models.catalog import EncoderShape
from training.objectives.catalog import Objectives
from training.objectives.word_object_alignment import AlignmentOptions
from training.runs.checkpoints import save_checkpoint
from training.runs.folder import begin_run
from training.runs.optimizers import Optimization
from training.runs.recipes import Recipe
from training.weights.ours import build_model


def make_run(
    folder: Path, texts: Sequence[str], *, shape: EncoderShape = SHAPE, alignment: bool = True, **changes: Any
) -> Path:
    """Return the folder of a run whose tokenizer knows the texts; `changes` are of its recipe.

    Its features have 6 numbers, as those of `joined_stores`, and its sentences at most 16 pieces.
    """
    tokenizer = train_tokenizer(texts, vocab_size=60)
    options = AlignmentOptions(joint_size=4) if alignment else None
    recipe = Recipe(
        task="pretraining",
        encoder=replace(shape, vocab_size=tokenizer.vocab_size, dropout=0.0, attention_dropout=0.0),
        sizes=replace(SIZES, vocab_size=tokenizer.vocab_size, num_answers=2),
        objectives=Objectives(word_object_alignment=options),
        batches=BatchOptions(max_pieces=16),
        optimization=Optimization(),
        sources=("captions",),
        batch_size=4,
        num_steps=20,
        precision="float32",
        seed=0,
        data={},
    )
    run = begin_run(folder, replace(recipe, **changes), tokenizer, AnswerVocabulary(answers=("red", "green")))
    save_checkpoint(folder, step=20, model=build_model(run), optimizer=None)
    return folder
