"""Attention rollout: how much of what a layer knows of a place came from each place of the input.

Source: Abnar & Zuidema, ACL 2020; the mean over heads comes first. Samaran et al. (ACL-IJCNLP SRW 2021) write a head's
index on it, their public code has none.

Axes: B pairs, N heads, T places of the sequence, Q K queries and keys.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

from training.batch import EncoderOutputs
from training.models.blocks import TapKind, chosen_heads


def with_residual(attention_BTT: Tensor) -> Tensor:
    """Return what a layer takes from each place [B, T, T], of its attention: as much of itself, as residuals do.

    Rows sum to 1, even of attention whose rows do not; a place that attends to nothing keeps itself.
    """
    kept_BTT = attention_BTT + torch.eye(
        attention_BTT.shape[-1], dtype=attention_BTT.dtype, device=attention_BTT.device
    )
    return kept_BTT / kept_BTT.sum(-1, keepdim=True)


def after(map_BTT: Tensor, before_BTT: Tensor | None) -> Tensor:
    """Return what a layer takes from each place of the input, if those before it took `before_BTT`; None: it is first.

    Products have the precision of what is given, whatever autocast would have.
    """
    if before_BTT is None:
        return map_BTT
    with torch.autocast(map_BTT.device.type, enabled=False):
        return map_BTT @ before_BTT


def roll_out(attention_BTT: Iterable[Tensor]) -> list[Tensor]:
    """Return the rollout after each layer [B, T, T], of each layer's attention averaged over heads, the first first."""
    found: list[Tensor] = []
    for layer_BTT in attention_BTT:
        found.append(after(with_residual(layer_BTT), found[-1] if found else None))
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
    return roll_out(mean_over_heads(getattr(outputs.taps[layer], kind), heads) for layer in layers)


def mean_over_heads(attention_BNQK: Tensor, heads: tuple[int, ...] | None = None) -> Tensor:
    """Return the mean of some heads, all unless told, float32 or float64 [B, Q, K]."""
    chosen = chosen_heads(attention_BNQK, heads)
    return chosen.mean(1, dtype=torch.promote_types(chosen.dtype, torch.float32))
