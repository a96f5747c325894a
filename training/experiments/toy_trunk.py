"""A trunk that knows things by sight before a visual parser learns to read: in the paper ImageNet's weights are that.

From nothing, toy parsers of a few thousand steps answer as well without a picture as with it. So each cell learns first
which words point at a box that its centre is in.

Axes: I images, R cells, W words.
"""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from stores.sentence_reading import open_sentences
from training.data.pictures import Pictures
from training.experiments.trial import Trial
from training.models.trunk import Trunk, TrunkShape

SOURCE = "visual-genome"
NUM_WORDS = 64
"""The words that point most often."""

NUM_STEPS = 3000
BATCH_SIZE = 32
LEARNING_RATE = 4e-3


def trunk_of(trial: Trial) -> Path:
    """Return the folder of the trunk that all arms of the trial's seed begin with, as transformers writes a Swin."""
    return trial.out / f"trunk-{trial.seed}"


def train_trunk(trial: Trial, shape: TrunkShape) -> None:
    """That folder is there."""
    if trunk_of(trial).exists():
        return
    torch.manual_seed(trial.seed)
    pixels, words = lessons(trial, Pictures(trial.images, shape))
    trunk = Trunk(shape)
    head = nn.Linear(shape.feature_dim, words.shape[2])
    weights = [*trunk.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(weights, LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=NUM_STEPS)
    for _ in range(NUM_STEPS):
        drawn = torch.randint(len(pixels), (BATCH_SIZE,))
        cells, _ = trunk(pixels[drawn])
        loss = functional.binary_cross_entropy_with_logits(head(cells), words[drawn].float())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
    aside = trial.out / f".trunk-{trial.seed}.part"
    trunk.swin.save_pretrained(aside)
    aside.rename(trunk_of(trial))


def lessons(trial: Trial, pictures: Pictures) -> tuple[Tensor, Tensor]:
    """Return the training images, uint8 [I, 3, S, S], and which words point at each of their cells, bool [I, R, W]."""
    boxes = list(_pointed_boxes(trial.sentences))
    counts = Counter(word for _, word, _ in boxes)
    numbers = {word: number for number, (word, _) in enumerate(counts.most_common(NUM_WORDS))}
    rows = {image_id: row for row, image_id in enumerate(sorted({image_id for image_id, _, _ in boxes}))}
    words = torch.zeros(len(rows), len(pictures.cells), len(numbers), dtype=torch.bool)
    for image_id, word, box in boxes:
        if word in numbers:
            words[rows[image_id], torch.from_numpy(_inside(pictures.cells, box)), numbers[word]] = True
    return torch.stack([pictures.read(image_id) for image_id in rows]), words


def _pointed_boxes(sentences: Path) -> Iterator[tuple[str, str, tuple[float, ...]]]:
    """Yield image, word and each box that the word points at, over the image's size."""
    with open_sentences(sentences) as store:
        for aligned in store:
            sentence, words = aligned.sentence, aligned.words
            if (sentence.source, sentence.split) != (SOURCE, "train"):
                continue
            image = sentence.images[0]
            for row, (start, end) in enumerate(zip(words.starts, words.ends, strict=True)):
                for x1, y1, x2, y2 in aligned.gold_boxes(row):
                    box = x1 / image.width, y1 / image.height, x2 / image.width, y2 / image.height
                    yield image.image_id, sentence.text[start:end].lower(), box


def _inside(cells: NDArray[np.float32], box: tuple[float, ...]) -> NDArray[np.bool_]:
    """Return which cells, float32 [R, 4] over the image's size, have their centre in the box."""
    x, y = (cells[:, 0] + cells[:, 2]) / 2, (cells[:, 1] + cells[:, 3]) / 2
    inside: NDArray[np.bool_] = (box[0] <= x) & (x < box[2]) & (box[1] <= y) & (y < box[3])
    return inside
