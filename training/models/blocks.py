"""The four blocks of a layer's attention: words and regions, each seen by each.

A single-stream layer has them in one map, a two-stream cross layer in four attentions; what is made of them
(supervision, congruence, measurements) is the same for both.

Axes: B pairs, N heads, L word pieces, R regions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from training.batch import AttentionTap, EncoderOutputs

TapKind = Literal["scores", "probs", "probs_dropped"]
LayerChoice = Literal["all", "last"] | tuple[int, ...]
"""All meeting layers, the last, or some by number from 0; negative ones count from the end."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Blocks:
    """Attention of one layer, rows attending to columns.

    Of one stream, a row's probabilities sum to 1 over words and regions (and the end token) together; of two streams,
    over each block.
    """

    text: Tensor
    """float [B, N, L, L]."""
    text_to_regions: Tensor
    """float [B, N, L, R]."""
    regions_to_text: Tensor
    """float [B, N, R, L]."""
    regions: Tensor
    """float [B, N, R, R]."""


def blocks_of(outputs: EncoderOutputs, layer: str, kind: TapKind = "probs") -> Blocks:
    """Return the blocks of a layer all of whose taps were asked for; views where there is one map."""
    if layer not in outputs.taps:
        return Blocks(
            **{
                name: _values(outputs.taps[f"{layer}.{name}"], kind)
                for name in ("text", "text_to_regions", "regions_to_text", "regions")
            }
        )
    return split(_values(outputs.taps[layer], kind), outputs)


def split(joint_BNTT: Tensor, outputs: EncoderOutputs) -> Blocks:
    """Return the blocks of one map over words, regions and, where there is one, the end token; views."""
    text = slice(outputs.text.shape[1])
    regions = slice(text.stop, text.stop + outputs.regions.shape[1])
    return Blocks(
        text=joint_BNTT[:, :, text, text],
        text_to_regions=joint_BNTT[:, :, text, regions],
        regions_to_text=joint_BNTT[:, :, regions, text],
        regions=joint_BNTT[:, :, regions, regions],
    )


def chosen_layers(layers: Sequence[str], choice: LayerChoice) -> tuple[str, ...]:
    """Return the chosen ones of an encoder's meeting layers.

    Raises:
        ValueError: there is no layer of a number.
    """
    if choice == "all":
        return tuple(layers)
    numbers = (-1,) if choice == "last" else choice
    if wrong := [number for number in numbers if not -len(layers) <= number < len(layers)]:
        raise ValueError(f"layers {wrong}: no such layers, the encoder has {len(layers)}, counted from 0")
    return tuple(layers[number] for number in numbers)


def chosen_heads(attention_BNXX: Tensor, heads: tuple[int, ...] | None) -> Tensor:
    """Return the attention of some heads; None: of all.

    Raises:
        ValueError: there is no head of a number.
    """
    if heads is None:
        return attention_BNXX
    if wrong := [head for head in heads if not 0 <= head < attention_BNXX.shape[1]]:
        raise ValueError(f"heads {wrong}: no such heads, the encoder has {attention_BNXX.shape[1]}, counted from 0")
    return attention_BNXX[:, torch.tensor(heads, device=attention_BNXX.device)]


def _values(tap: AttentionTap, kind: TapKind) -> Tensor:
    values: Tensor = getattr(tap, kind)
    return values
