"""Alignment accuracy: of the words that point at something, how many find a region that shows it?

Read from the alignment decoder, from every layer's attention summed over its heads, and from a linear probe. The
decoder of a model that was never trained with an alignment loss is noise, and is not reported; attention and probe can
be compared between all.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.data.batches import BatchMaker
from training.figures import Figure
from training.model import Model
from training.models.blocks import blocks_of
from training.objectives.word_object_alignment import WordObjectAlignment
from training.probes.linear import LinearProbe, ProbeOptions, train_linear_probe
from training.probes.pointed_words import NothingPointedError, PointedBatch, pointed_batches

BATCH_SIZE = 128


@dataclass(frozen=True, kw_only=True)
class AlignmentAccuracy:
    """Shares of words whose best region covers what they mean, each with the number of words."""

    attention: dict[str, Figure]
    """By layer in which words and regions meet, `cross.0` or `joint.0` the first; summed over heads."""
    linear_probe: Figure
    chance: Figure
    """Accuracy of a region drawn at random."""
    first_region: Figure
    """Accuracy of the detector's most confident region, whatever the word."""
    decoder: Figure | None = None
    """None for models without one."""


def measure_alignment(
    model: Model,
    maker: BatchMaker,
    *,
    train: NDArray[np.int64],
    test: NDArray[np.int64],
    options: ProbeOptions,
    device: str = "cpu",
) -> AlignmentAccuracy:
    """Return what a frozen model knows of the regions that words of the test sentences mean.

    The training sentences are those that the linear probe learns on.

    Raises:
        NothingPointedError: no word of the test sentences, or of the training sentences, is covered by a region.
    """
    where = torch.device(device)
    model, maker = model.to(where).eval(), maker.for_evaluation()
    probe = train_linear_probe(model, maker, train, options, where)
    right: dict[str, float] = {}
    num_words = 0
    for pointed in pointed_batches(maker, test, BATCH_SIZE):
        on_device = pointed.to(where)
        num_words += len(pointed.rows)
        for name, hits_W in _hits(model, probe, on_device).items():
            right[name] = right.get(name, 0.0) + float(hits_W.sum())
    if not num_words:
        raise NothingPointedError(
            f"{maker.shards.sentences.folder}: no word of {len(test)} sentences has a region of IoU 0.5 with its gold "
            "box, expected some; see vinculum doctor"
        )
    figures = {name: Figure(value=hits / num_words, of=num_words) for name, hits in right.items()}
    return AlignmentAccuracy(
        attention={layer: figures[layer] for layer in model.encoder.meeting_layers},
        linear_probe=figures["linear_probe"],
        chance=figures["chance"],
        first_region=figures["first_region"],
        decoder=figures.get("decoder"),
    )


def _hits(model: Model, probe: LinearProbe, pointed: PointedBatch) -> dict[str, Tensor]:
    """Return for every reading float [W]: 1 where its best region covers, 0 elsewhere."""
    layers = model.encoder.meeting_layers
    with torch.inference_mode():
        outputs = model.encode(pointed.batch, [tap for layer in layers for tap in model.encoder.taps_of(layer)])
        scores = {layer: pointed.of_words(blocks_of(outputs, layer).text_to_regions.sum(1)) for layer in layers}
        scores["linear_probe"] = probe(outputs, pointed)
        if (decoder := model.head(WordObjectAlignment)) is not None:
            scores["decoder"] = pointed.of_words(decoder.scores(outputs))
    covers_WR = pointed.covers.float()
    hits = {name: covers_WR.gather(1, each.argmax(1, keepdim=True))[:, 0] for name, each in scores.items()}
    hits["chance"] = covers_WR.sum(1) / pointed.batch.region_mask[pointed.rows].sum(1)
    hits["first_region"] = covers_WR[:, 0]
    return hits
