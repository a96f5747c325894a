"""A linear probe: how well do a frozen encoder's states tell which region a word means, if one map may be learnt?

The score of a region is the product of its state with a linear map of the word's; the map is learnt on training
sentences, in the same way for every encoder: it is fair to those that no alignment loss has shaped.

Axes: W words, R regions, E hidden size.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from training.batch import EncoderOutputs
from training.data.batches import BatchMaker
from training.probes.pointed_words import NothingPointedError, PointedBatch, read_pointed


@dataclass(frozen=True, kw_only=True)
class ProbeOptions:
    """How the map is learnt; the same for all that are to be compared."""

    num_steps: int = 400
    """Number of steps in which the linear probe learns."""
    batch_size: int = 64
    """Number of sentences in a step of the linear probe."""
    learning_rate: float = 3e-3
    """Initial learning rate of the linear probe; it falls to 0 along half a cosine."""
    weight_decay: float = 0.01
    """Decoupled weight decay of the linear probe, as in AdamW."""
    seed: int = 0
    """Seed of the linear probe's draws of sentences."""


class LinearProbe(nn.Module):
    """One square matrix, at first zero: all regions are equal."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.text_norm = nn.LayerNorm(hidden_size, elementwise_affine=False)
        self.region_norm = nn.LayerNorm(hidden_size, elementwise_affine=False)
        self.map = nn.Linear(hidden_size, hidden_size, bias=False)
        nn.init.zeros_(self.map.weight)

    def forward(self, outputs: EncoderOutputs, pointed: PointedBatch) -> Tensor:
        """Return float [W, R]; padding is far below everything else."""
        text_WE = (pointed.pieces[:, :, None] * outputs.text[pointed.rows].float()).sum(1)
        regions_WRE = self.region_norm(outputs.regions.float())[pointed.rows]
        scores_WR = (regions_WRE @ self.map(self.text_norm(text_WE))[:, :, None])[:, :, 0]
        return scores_WR.masked_fill(~pointed.batch.region_mask[pointed.rows], torch.finfo(scores_WR.dtype).min)


def train_linear_probe(
    model: nn.Module, maker: BatchMaker, numbers: NDArray[np.int64], options: ProbeOptions, device: torch.device
) -> LinearProbe:
    """Return the probe of a frozen model, learnt on these sentences: cross-entropy with all regions that cover.

    Raises:
        NothingPointedError: none of the sentences that were drawn has a word that a region covers.
    """
    probe = LinearProbe(model.encoder.shape.hidden_size).to(device)  # type: ignore[union-attr, arg-type]
    optimizer = torch.optim.AdamW(
        probe.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay, fused=True
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, options.num_steps)
    num_words = 0
    for pointed in _drawn(maker, numbers, options):
        on_device = pointed.to(device)
        with torch.no_grad():
            outputs = model.encode(on_device.batch)  # type: ignore[operator]
        log_probs_WR = probe(outputs, on_device).log_softmax(1)
        covering_W = log_probs_WR.masked_fill(~on_device.covers, -torch.inf).logsumexp(1)
        optimizer.zero_grad(set_to_none=True)
        (-covering_W.mean()).backward()
        optimizer.step()
        schedule.step()
        num_words += len(pointed.rows)
    if not num_words:
        raise NothingPointedError(
            f"{maker.shards.sentences.folder}: no word of {len(numbers)} training sentences has a region of IoU 0.5 "
            "with its gold box, expected some to learn a probe on; see vinculum doctor"
        )
    return probe.eval()


def _drawn(maker: BatchMaker, numbers: NDArray[np.int64], options: ProbeOptions) -> Iterator[PointedBatch]:
    rng = np.random.default_rng(options.seed)
    for _ in range(options.num_steps):
        pointed = read_pointed(maker, rng.choice(numbers, min(options.batch_size, len(numbers)), replace=False))
        if len(pointed.rows):
            yield pointed
