"""Attention rollout: how much of what a layer knows of a place came from each place of the input.

Source: Abnar & Zuidema, ACL 2020; the mean over heads comes first. Samaran et al. (ACL-IJCNLP SRW 2021) write a head's
index on it, their public code has none.

Axes: B pairs, N heads, T places of the sequence.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from training.models.blocks import TapKind, chosen_heads
from training.records import EncoderOutputs


def roll_out(attention_BTT: Iterable[Tensor]) -> list[Tensor]:
    """Return the rollout after each layer [B, T, T], of each layer's attention averaged over heads, the first first.

    A place keeps as much of itself as it takes in, as residuals do. Rows sum to 1, even of attention whose rows do not.
    Products have the precision of what is given, whatever autocast would have.
    """
    found: list[Tensor] = []
    for layer_BTT in attention_BTT:
        kept_BTT = layer_BTT + torch.eye(layer_BTT.shape[-1], dtype=layer_BTT.dtype, device=layer_BTT.device)
        kept_BTT = kept_BTT / kept_BTT.sum(-1, keepdim=True)
        with torch.autocast(layer_BTT.device.type, enabled=False):
            found.append(kept_BTT @ found[-1] if found else kept_BTT)
    return found


def rollout_of(
    outputs: EncoderOutputs,
    *,
    num_layers: int | None = None,
    kind: TapKind = "probs",
    heads: tuple[int, ...] | None = None,
) -> list[Tensor]:
    """Return the rollout after each of the first layers, all unless told, float32 or float64 [B, T, T].

    Rows of padding mean nothing; its columns are 0 in all others.

    Args:
        heads: those that are averaged; None: all.

    Raises:
        ValueError: the encoder has two streams, or the layers' attention was not asked for.
    """
    layers = outputs.layers[:num_layers]
    if missing := [layer for layer in layers if layer not in outputs.taps]:
        raise ValueError(
            f"attention rollout: there is no joint attention of {', '.join(missing)}, expected that of every layer "
            "of a single-stream encoder; of two streams words and regions have no map in common"
        )
    return roll_out(_mean_over_heads(getattr(outputs.taps[layer], kind), heads) for layer in layers)


def _mean_over_heads(attention_BNTT: Tensor, heads: tuple[int, ...] | None) -> Tensor:
    chosen = chosen_heads(attention_BNTT, heads)
    return chosen.mean(1, dtype=torch.promote_types(chosen.dtype, torch.float32))
