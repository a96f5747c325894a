"""UNITER's encoder: words and regions in one sequence, through the layers of BERT.

Source: Chen et al., ECCV 2020, and its public code; the end token, the segments of two captions and the position that
all regions share are VL-BERT's (Su et al., ICLR 2020), as Samaran et al. use it.

The sequence is text, then regions, then the end token, each padded to the longest of the batch. What is padding is no
key for anyone, so that a pair's states are those that it has alone; and word i and region j are the same row and column
of the attention for every pair, whatever its length.

Axes: B pairs, L word pieces, R regions, T = L + R (+ 1) places of the sequence, D feature_dim, E hidden size.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from training.batch import AttentionTap, Batch, EncoderOutputs
from training.models.attention import additive_mask, require_taps
from training.models.embeddings import TextEmbedding
from training.models.encoder import Encoder, Shape
from training.models.initialization import initialize
from training.models.layers import NORM_EPSILON, Layer

BOX_SIZE = 7


@dataclass(frozen=True, kw_only=True)
class SingleStreamShape(Shape):
    """Sizes of a single-stream encoder; UNITER's base by default, with BERT's vocabulary."""

    kind: Literal["single-stream"] = "single-stream"
    num_layers: int = 12
    num_segments: int = 2
    """The last is that of regions and of the end token; 3 where a sentence may be two captions."""
    end_token: bool = False
    """A learned token ends the sequence, as VL-BERT has it."""
    region_positions: bool = False
    """Regions share the position after the text, the end token has the next; as VL-BERT has it. UNITER's have none."""

    @property
    def max_pieces(self) -> int:
        """Return how many pieces of a sentence have positions."""
        return self.max_positions - 2 * self.region_positions

    @property
    def layers(self) -> str:
        """See `Shape.layers`."""
        return f"one stream, {self.num_layers} layers"

    def build(self) -> Encoder:
        """See `Shape.build`."""
        return SingleStreamEncoder(self)


class RegionEmbedding(nn.Module):
    """The sum of a region's feature and its box, each projected and normed, and of a segment; a set without order."""

    def __init__(self, shape: SingleStreamShape) -> None:
        super().__init__()
        self.feature = nn.Linear(shape.feature_dim, shape.hidden_size)
        self.feature_norm = nn.LayerNorm(shape.hidden_size, eps=NORM_EPSILON)
        self.box = nn.Linear(BOX_SIZE, shape.hidden_size)
        self.box_norm = nn.LayerNorm(shape.hidden_size, eps=NORM_EPSILON)
        self.blank = nn.Parameter(torch.empty(shape.feature_dim))
        self.norm = nn.LayerNorm(shape.hidden_size, eps=NORM_EPSILON)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, batch: Batch, place_E: Tensor) -> Tensor:
        """Return float [B, R, E]; `place_E`, of segment and position, is added to every region before the norm."""
        features_BRD = batch.features.to(self.feature.weight.dtype)
        if batch.masked_regions is not None:
            blanked = batch.masked_regions.positions[batch.masked_regions.is_blanked]
            added_XD = torch.zeros_like(features_BRD).flatten(0, 1).index_fill(0, blanked, 1.0)
            features_BRD = features_BRD + added_XD.view_as(features_BRD) * self.blank
        boxes_BR7 = seven_numbers(batch.boxes).to(self.box.weight.dtype)
        features_BRE = self.feature_norm(self.feature(features_BRD))
        summed_BRE = features_BRE + self.box_norm(self.box(boxes_BR7)) + place_E
        return self.dropout(self.norm(summed_BRE))


class SingleStreamEncoder(Encoder):
    """One stack of layers over words and regions together."""

    shape: SingleStreamShape

    def __init__(self, shape: SingleStreamShape, region_embedding: nn.Module | None = None) -> None:
        """Regions are embedded by boxes and features, unless something else does it."""
        super().__init__()
        self.shape = shape
        sizes = (shape.hidden_size, shape.intermediate_size, shape.num_heads, shape.dropout, shape.attention_dropout)
        self.text_embedding = TextEmbedding(
            vocab_size=shape.vocab_size,
            hidden_size=shape.hidden_size,
            max_positions=shape.max_positions,
            num_segments=shape.num_segments,
            dropout=shape.dropout,
        )
        self.region_embedding = RegionEmbedding(shape) if region_embedding is None else region_embedding
        if shape.end_token:
            self.end = nn.Parameter(torch.empty(shape.hidden_size))
        self.layers = nn.ModuleList(Layer(*sizes) for _ in range(shape.num_layers))
        self.pooler = nn.Linear(shape.hidden_size, shape.hidden_size)
        initialize(self, shape.initial_std)
        if isinstance(self.region_embedding, RegionEmbedding):
            nn.init.normal_(self.region_embedding.blank, std=shape.initial_std)
        if shape.end_token:
            nn.init.normal_(self.end, std=shape.initial_std)

    @property
    def meeting_layers(self) -> tuple[str, ...]:
        """The layers in which words and regions attend to each other, the first first."""
        return tuple(f"joint.{number}" for number in range(self.shape.num_layers))

    def taps_of(self, layer: str) -> tuple[str, ...]:
        """Return the taps that together show all attention of a meeting layer."""
        return (layer,)

    @property
    def tap_names(self) -> tuple[str, ...]:
        """The attentions that can be asked for, in the order in which they are computed; of T queries and T keys."""
        return self.meeting_layers

    def forward(self, batch: Batch, taps: Collection[str] = (), *, keep_states: bool = False) -> EncoderOutputs:
        """Return what words and regions have become, and the attentions asked for by their `tap_names`.

        Args:
            keep_states: what they are after each layer is asked for, too.

        Raises:
            ValueError: a tap that there is not.
        """
        require_taps(taps, self.tap_names)
        length, num_regions = batch.text_mask.shape[1], batch.region_mask.shape[1]
        states, mask = self._sequence(batch)
        additive = additive_mask(mask, states)
        found: dict[str, AttentionTap] = {}
        kept: dict[str, tuple[Tensor, Tensor]] = {}
        text, regions = slice(length), slice(length, length + num_regions)
        for number, layer in enumerate(self.layers):
            states, tap = layer(states, additive, tap=f"joint.{number}" in taps)
            found |= {f"joint.{number}": tap} if tap else {}
            kept |= {f"joint.{number}": (states[:, text], states[:, regions])} if keep_states else {}
        return EncoderOutputs(
            text=states[:, text],
            regions=states[:, regions],
            pooled=self.pooler(states[:, 0]).tanh(),
            word_embeddings=self.text_embedding.word.weight,
            layers=self.meeting_layers,
            taps=found,
            states=kept,
        )

    def _sequence(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the embedded sequence [B, T, E], and which of its places are not padding, bool [B, T]."""
        segment_E = self.text_embedding.segment.weight[-1]
        after_text_B = batch.text_mask.sum(1)
        parts = [self.text_embedding(batch.input_ids, batch.segment_ids)]
        parts.append(self.region_embedding(batch, segment_E + self._position(after_text_B)))
        masks = [batch.text_mask, batch.region_mask]
        if self.shape.end_token:
            end_B1E = (self.end + segment_E + self._position(after_text_B + 1)).expand(len(batch), 1, -1)
            parts.append(self.text_embedding.dropout(self.text_embedding.norm(end_B1E)))
            masks.append(torch.ones_like(batch.text_mask[:, :1]))
        return torch.cat(parts, 1), torch.cat(masks, 1)

    def _position(self, positions_B: Tensor) -> Tensor:
        """Return the embeddings of these positions [B, 1, E]; zeros where regions have none."""
        if not self.shape.region_positions:
            return self.text_embedding.position.weight.new_zeros(1)
        embedded_B1E: Tensor = self.text_embedding.position(positions_B)[:, None]
        return embedded_B1E


def with_segments(states: Mapping[str, Tensor], num_segments: int) -> dict[str, Tensor]:
    """Return an encoder's weights for more segments: the last stays that of regions, new ones are as the first is.

    What the encoder makes of one caption and its image does not change.
    """
    name = "text_embedding.segment.weight"
    rows = states[name]
    new = rows[:1].expand(max(num_segments - len(rows), 0), -1)
    return {**states, name: torch.cat([rows[:-1], new, rows[-1:]])}


def seven_numbers(boxes_BR4: Tensor) -> Tensor:
    """Return x1, y1, x2, y2, width, height, area [B, R, 7] of boxes over their image's size."""
    sizes_BR2 = boxes_BR4[..., 2:] - boxes_BR4[..., :2]
    return torch.cat([boxes_BR4, sizes_BR2, sizes_BR2.prod(-1, keepdim=True)], -1)
