"""The visual parser: Swin turns pixels into visual tokens, and a single stream takes them for its regions.

Source: Xue et al., NeurIPS 2021, which has no public code; positions, and where the mask stands, are SOHO's (Huang et
al., CVPR 2021), whose settings it follows.

Cells are Swin's own, or those of stored grids; from there on both are the same. What is hidden of them is chosen by
their attention before anything is hidden.

Axes: B pairs, I images, R cells, D feature_dim, E hidden size.
"""

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

from training.batch import Batch, EncoderOutputs, HiddenTokens, TokenMask
from training.models.encoder import Encoder
from training.models.initialization import initialize
from training.models.layers import NORM_EPSILON
from training.models.single_stream import SingleStreamEncoder, SingleStreamShape
from training.models.trunk import Trunk, TrunkShape

TEMPERATURE = 10_000
"""Temperature of positions: the longest wave is that much longer than the shortest."""


@dataclass(frozen=True, kw_only=True)
class VisualParserShape(SingleStreamShape):
    """Sizes of a visual parser: BERT's base over the cells of Swin-B by default."""

    kind: Literal["visual-parser"] = "visual-parser"  # type: ignore[assignment]
    feature_dim: int = 1024
    """Features of a cell."""
    trunk: TrunkShape | None = None
    """What makes cells of pixels; None: they are stored."""

    def __post_init__(self) -> None:
        if self.trunk is not None and self.trunk.feature_dim != self.feature_dim:
            raise ValueError(f"feature_dim is {self.feature_dim}, expected the trunk's, {self.trunk.feature_dim}")
        if self.hidden_size % 4:
            raise ValueError(
                f"hidden size is {self.hidden_size}, expected a multiple of 4: half of it tells the row of a cell, "
                "half the column, in pairs of a sine and a cosine"
            )

    @property
    def layers(self) -> str:
        """See `Shape.layers`."""
        if self.trunk is None:
            return f"stored cells; {super().layers}"
        stages, side = "/".join(map(str, self.trunk.depths)), self.trunk.side
        return f"Swin, {stages} layers, {self.trunk.image_size} pixels to {side} x {side} cells; {super().layers}"

    def build(self) -> Encoder:
        """See `Shape.build`."""
        return VisualParserEncoder(self)


class CellPlaces(nn.Module):
    """Visual tokens, each with the place of its cell and what all of them share."""

    def __init__(self, shape: VisualParserShape) -> None:
        super().__init__()
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, batch: Batch, place_E: Tensor) -> Tensor:
        """Return float [B, R, E]; the batch's features are visual tokens already."""
        tokens_BRE = batch.features
        return self.dropout(tokens_BRE + sine_positions(batch.boxes, tokens_BRE.shape[-1]) + place_E)


class VisualParserEncoder(SingleStreamEncoder):
    """A trunk, where there is one, and a single stream over words and visual tokens."""

    shape: VisualParserShape

    def __init__(self, shape: VisualParserShape) -> None:
        super().__init__(shape, CellPlaces(shape))
        self.token = nn.Linear(shape.feature_dim, shape.hidden_size)
        self.token_norm = nn.LayerNorm(shape.hidden_size, eps=NORM_EPSILON)
        initialize(self.token, shape.initial_std)
        self.blank = nn.Parameter(torch.empty(shape.hidden_size))
        nn.init.normal_(self.blank, std=shape.initial_std)
        self.trunk = None if shape.trunk is None else Trunk(shape.trunk)

    def parse(self, batch: Batch) -> Batch:
        """Return the batch with the cells of its pixels, and their attention; one that has cells is as it was.

        Raises:
            ValueError: it has pixels, and the encoder no trunk.
        """
        if batch.pixels is None or batch.image_rows is None:
            return batch
        if self.trunk is None:
            raise ValueError("visual parser: the batch has pixels, expected stored cells: the encoder has no trunk")
        features_IRD, attention_INRR = self.trunk(batch.pixels)
        attention_IRR = attention_INRR.detach().float().mean(1)
        return replace(
            batch,
            pixels=None,
            image_rows=None,
            features=features_IRD[batch.image_rows],
            visual_attention=attention_IRR[batch.image_rows],
        )

    def forward(self, batch: Batch, taps: Collection[str] = (), *, keep_states: bool = False) -> EncoderOutputs:
        """Return what words and visual tokens have become; see `SingleStreamEncoder.forward`.

        Of pixels the image is parsed once for all pairs that have it.
        """
        batch = self.parse(batch)
        tokens_BRE = self.token_norm(self.token(batch.features.to(self.token.weight.dtype)))
        hidden_BR = None if batch.token_mask is None else hidden_cells(batch.token_mask, batch)
        shown_BRE = tokens_BRE
        if hidden_BR is not None:
            shown_BRE = torch.where(hidden_BR[..., None], self.blank.to(tokens_BRE.dtype), tokens_BRE)
        outputs = super().forward(replace(batch, features=shown_BRE), taps, keep_states=keep_states)
        if hidden_BR is None:
            return outputs
        positions_M = hidden_BR.flatten().nonzero()[:, 0]
        tokens_ME = tokens_BRE.detach().flatten(0, 1)[positions_M]
        return replace(outputs, hidden_tokens=HiddenTokens(positions=positions_M, tokens=tokens_ME))


def hidden_cells(mask: TokenMask, batch: Batch) -> Tensor:
    """Return which cells are hidden, bool [B, R].

    Raises:
        ValueError: attention is to choose them, and the batch has none.
    """
    if mask.chosen is not None:
        return mask.chosen
    if batch.visual_attention is None:
        raise ValueError("visual parser: the batch has no attention among cells, expected it, to choose what to hide")
    return attended_cells(
        batch.visual_attention, mask.seeds, mask.counts, batch.region_mask, beside_seed=mask.beside_seed
    )


@torch.no_grad()
def attended_cells(
    attention_BRR: Tensor, seeds_B: Tensor, counts_B: Tensor, is_cell_BR: Tensor, *, beside_seed: bool = False
) -> Tensor:
    """Return the cells that each pair's seed attends to most, bool [B, R]; `counts_B` of them.

    A cell keeps as much of itself as it takes in, A = (I + W) / 2, so that the seed is always the first of them, or
    with `beside_seed` is there besides.
    """
    rows_B = torch.arange(len(seeds_B), device=seeds_B.device)
    attended_BR = attention_BRR[rows_B, seeds_B].float() / 2
    attended_BR[rows_B, seeds_B] += 0.5
    attended_BR = attended_BR.masked_fill(~is_cell_BR, -torch.inf)
    ranks_BR = attended_BR.argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    counts_B = counts_B + (counts_B > 0) if beside_seed else counts_B
    return (ranks_BR < counts_B[:, None]) & is_cell_BR


def sine_positions(boxes_BR4: Tensor, size: int) -> Tensor:
    """Return what tells the places of cells, float32 [B, R, size]: half of it the row, half the column.

    Rows and columns are counted up to a whole turn at the last one: a cell's lower and right edge over the image's
    size, times 2 pi. Source: DETR's public code, as SOHO has it.
    """
    numbers = torch.arange(size // 4, device=boxes_BR4.device)
    waves = TEMPERATURE ** (numbers * 4 / size)
    turns_BR2W = boxes_BR4[..., [3, 2], None].float() * (2 * math.pi) / waves
    return torch.stack([turns_BR2W.sin(), turns_BR2W.cos()], -1).flatten(2)
