"""LXMERT's encoder: words and regions each in a stream of their own, then layers in which they attend to each other.

Source: Tan & Bansal, EMNLP 2019, and its public code where the paper leaves something open: the two directions of
cross-attention share one set of weights, and both start from the previous layer's states.

Axes: B pairs, L word pieces, R regions, D feature_dim, E hidden size.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from training.batch import AttentionTap, Batch, EncoderOutputs
from training.models.attention import Attention, additive_mask, require_taps
from training.models.embeddings import TextEmbedding
from training.models.encoder import Encoder, Shape
from training.models.initialization import initialize
from training.models.layers import NORM_EPSILON, FeedForward, Layer, Residual, SelfAttention


@dataclass(frozen=True, kw_only=True)
class TwoStreamShape(Shape):
    """Sizes of a two-stream encoder; LXMERT's by default."""

    kind: Literal["two-stream"] = "two-stream"
    num_text_layers: int = 9
    num_region_layers: int = 5
    num_cross_layers: int = 5
    freeze_first_rows: bool = False
    """Row 0 of the embedding tables gets no gradient from look-ups, as in the public code, where it is taken for
    padding; position 0 is [CLS]'s. For weights that were trained so."""
    feature_norm_epsilon: float = NORM_EPSILON
    """Epsilon of the layer norm of projected features. A blanked feature is all zeros, and so is its projection as long
    as the bias is: with 1e-12, the first steps' gradient there is a thousand times that of all the rest."""

    @property
    def layers(self) -> str:
        """See `Shape.layers`."""
        return (
            f"two streams, {self.num_text_layers} text, {self.num_region_layers} region, "
            f"{self.num_cross_layers} cross layers"
        )

    def build(self) -> Encoder:
        """See `Shape.build`."""
        return TwoStreamEncoder(self)


class RegionEmbedding(nn.Module):
    """The mean of a region's feature and its box, each projected and normed; a set without order."""

    def __init__(self, shape: TwoStreamShape) -> None:
        super().__init__()
        self.feature = nn.Linear(shape.feature_dim, shape.hidden_size)
        self.feature_norm = nn.LayerNorm(shape.hidden_size, eps=shape.feature_norm_epsilon)
        self.box = nn.Linear(4, shape.hidden_size)
        self.box_norm = nn.LayerNorm(shape.hidden_size, eps=NORM_EPSILON)
        self.dropout = nn.Dropout(shape.dropout)

    def forward(self, features_BRD: Tensor, boxes_BR4: Tensor) -> Tensor:
        features_BRE = self.feature_norm(self.feature(features_BRD.to(self.feature.weight.dtype)))
        boxes_BRE = self.box_norm(self.box(boxes_BR4.to(self.box.weight.dtype)))
        return self.dropout((features_BRE + boxes_BRE) / 2)


class CrossLayer(nn.Module):
    """Words and regions attend to each other, then each to themselves, then each through a feed-forward."""

    def __init__(self, shape: TwoStreamShape) -> None:
        super().__init__()
        sizes = shape.hidden_size, shape.num_heads, shape.dropout, shape.attention_dropout
        self.cross_attention = Attention(shape.hidden_size, shape.num_heads, shape.attention_dropout)
        self.cross_output = Residual(shape.hidden_size, shape.hidden_size, shape.dropout)
        self.text_attention = SelfAttention(*sizes)
        self.region_attention = SelfAttention(*sizes)
        self.text_feed_forward = FeedForward(shape.hidden_size, shape.intermediate_size, shape.dropout)
        self.region_feed_forward = FeedForward(shape.hidden_size, shape.intermediate_size, shape.dropout)

    def forward(
        self, text_BLE: Tensor, regions_BRE: Tensor, text_mask: Tensor, region_mask: Tensor, *, asked: Collection[str]
    ) -> tuple[Tensor, Tensor, dict[str, AttentionTap]]:
        """Return the new states of both, and the taps of those of this layer's four attentions that are asked for."""
        attend, tapped = self.cross_attention.attend, dict[str, AttentionTap | None]()
        query_t, key_t, value_t = self.cross_attention.project(text_BLE)
        query_r, key_r, value_r = self.cross_attention.project(regions_BRE)
        seen_BLE, tapped["text_to_regions"] = attend(
            query_t, key_r, value_r, region_mask, tap="text_to_regions" in asked
        )
        read_BRE, tapped["regions_to_text"] = attend(query_r, key_t, value_t, text_mask, tap="regions_to_text" in asked)
        text_BLE, tapped["text"] = self.text_attention(
            self.cross_output(seen_BLE, text_BLE), text_mask, tap="text" in asked
        )
        regions_BRE, tapped["regions"] = self.region_attention(
            self.cross_output(read_BRE, regions_BRE), region_mask, tap="regions" in asked
        )
        return (
            self.text_feed_forward(text_BLE),
            self.region_feed_forward(regions_BRE),
            {name: tap for name, tap in tapped.items() if tap is not None},
        )


CROSS_TAPS = ("text_to_regions", "regions_to_text", "text", "regions")
"""The attentions of a cross layer."""


class TwoStreamEncoder(Encoder):
    """Text layers and region layers side by side, then cross layers."""

    shape: TwoStreamShape

    def __init__(self, shape: TwoStreamShape) -> None:
        super().__init__()
        self.shape = shape
        sizes = (shape.hidden_size, shape.intermediate_size, shape.num_heads, shape.dropout, shape.attention_dropout)
        self.text_embedding = TextEmbedding(
            vocab_size=shape.vocab_size,
            hidden_size=shape.hidden_size,
            max_positions=shape.max_positions,
            num_segments=shape.num_segments,
            dropout=shape.dropout,
            freeze_first_rows=shape.freeze_first_rows,
        )
        self.region_embedding = RegionEmbedding(shape)
        self.text_layers = nn.ModuleList(Layer(*sizes) for _ in range(shape.num_text_layers))
        self.region_layers = nn.ModuleList(Layer(*sizes) for _ in range(shape.num_region_layers))
        self.cross_layers = nn.ModuleList(CrossLayer(shape) for _ in range(shape.num_cross_layers))
        self.pooler = nn.Linear(shape.hidden_size, shape.hidden_size)
        initialize(self, shape.initial_std)

    @property
    def meeting_layers(self) -> tuple[str, ...]:
        """The layers in which words and regions attend to each other, the first first."""
        return tuple(f"cross.{number}" for number in range(self.shape.num_cross_layers))

    def taps_of(self, layer: str) -> tuple[str, ...]:
        """Return the taps that together show all attention of a meeting layer."""
        return tuple(f"{layer}.{name}" for name in CROSS_TAPS)

    @property
    def tap_names(self) -> tuple[str, ...]:
        """The attentions that can be asked for, in the order in which they are computed."""
        return (
            *(f"text.{number}" for number in range(self.shape.num_text_layers)),
            *(f"regions.{number}" for number in range(self.shape.num_region_layers)),
            *(f"cross.{number}.{name}" for number in range(self.shape.num_cross_layers) for name in CROSS_TAPS),
        )

    def forward(self, batch: Batch, taps: Collection[str] = (), *, keep_states: bool = False) -> EncoderOutputs:
        """Return what words and regions have become, and the attentions asked for by their `tap_names`.

        Args:
            keep_states: what they are after each cross layer is asked for, too.

        Raises:
            ValueError: a tap that there is not.
        """
        require_taps(taps, self.tap_names)
        found: dict[str, AttentionTap] = {}
        kept: dict[str, tuple[Tensor, Tensor]] = {}
        text = self.text_embedding(batch.input_ids, batch.segment_ids)
        regions = self.region_embedding(batch.features, batch.boxes)
        text_mask, region_mask = additive_mask(batch.text_mask, text), additive_mask(batch.region_mask, text)
        for number, layer in enumerate(self.text_layers):
            text, tap = layer(text, text_mask, tap=f"text.{number}" in taps)
            found |= {f"text.{number}": tap} if tap else {}
        for number, layer in enumerate(self.region_layers):
            regions, tap = layer(regions, region_mask, tap=f"regions.{number}" in taps)
            found |= {f"regions.{number}": tap} if tap else {}
        for number, layer in enumerate(self.cross_layers):
            asked = {name for name in CROSS_TAPS if f"cross.{number}.{name}" in taps}
            text, regions, tapped = layer(text, regions, text_mask, region_mask, asked=asked)
            found |= {f"cross.{number}.{name}": tap for name, tap in tapped.items()}
            kept |= {f"cross.{number}": (text, regions)} if keep_states else {}
        return EncoderOutputs(
            text=text,
            regions=regions,
            pooled=self.pooler(text[:, 0]).tanh(),
            word_embeddings=self.text_embedding.word.weight,
            layers=self.meeting_layers,
            taps=found,
            states=kept,
        )
