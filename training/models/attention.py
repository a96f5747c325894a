"""Attention of several heads, whose inside can be seen without a second pass.

Axes: B batch, Q queries, K keys, E hidden size, N heads, C = E / N channels of a head.
"""

import math
from collections.abc import Collection

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.batch import AttentionTap


class Attention(nn.Module):
    """Queries, keys and values of one set of weights; what attends to what is the caller's choice.

    In a cross layer both directions share the weights, so that each modality is projected once for both.
    """

    def __init__(self, hidden_size: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(f"hidden size {hidden_size} is no multiple of {num_heads} heads")
        self.num_heads = num_heads
        self.dropout = dropout
        self.query_key_value = nn.Linear(hidden_size, 3 * hidden_size)

    def project(self, states_BQE: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values, each [B, N, Q, C]."""
        num_rows, length, hidden_size = states_BQE.shape
        shape = num_rows, length, 3, self.num_heads, hidden_size // self.num_heads
        query, key, value = self.query_key_value(states_BQE).view(shape).permute(2, 0, 3, 1, 4)
        return query, key, value

    def attend(
        self, query_BNQC: Tensor, key_BNKC: Tensor, value_BNKC: Tensor, mask_B11K: Tensor, *, tap: bool
    ) -> tuple[Tensor, AttentionTap | None]:
        """Return the attended values [B, Q, E], and the attention itself if it is asked for.

        `mask_B11K` is added to the scores: 0 for keys that are there, the least number of its dtype for padding.
        """
        dropout = self.dropout if self.training else 0.0
        if not tap:
            context_BNQC = F.scaled_dot_product_attention(
                query_BNQC, key_BNKC, value_BNKC, attn_mask=mask_B11K, dropout_p=dropout
            )
            return _merge_heads(context_BNQC), None
        scores_BNQK = query_BNQC @ key_BNKC.transpose(-1, -2) / math.sqrt(query_BNQC.shape[-1]) + mask_B11K
        probs_BNQK = scores_BNQK.softmax(-1)
        dropped_BNQK = F.dropout(probs_BNQK, dropout, self.training)
        context_BNQC = dropped_BNQK.to(value_BNKC.dtype) @ value_BNKC
        return _merge_heads(context_BNQC), AttentionTap(
            scores=scores_BNQK, probs=probs_BNQK, probs_dropped=dropped_BNQK
        )


def additive_mask(mask_BK: Tensor, states: Tensor) -> Tensor:
    """Return [B, 1, 1, K] to add to scores: 0 where the mask is True, the least number of its dtype elsewhere.

    Its dtype is that in which scores of `states` are computed.
    """
    device = states.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype
    mask_B11K = torch.zeros(mask_BK.shape, dtype=dtype, device=mask_BK.device)
    return mask_B11K.masked_fill_(~mask_BK, torch.finfo(dtype).min)[:, None, None]


def require_taps(asked: Collection[str], names: Collection[str]) -> None:
    """Every tap that is asked for is among the names.

    Raises:
        ValueError: one is not; lists those that there are.
    """
    if unknown := set(asked) - set(names):
        raise ValueError(f"taps {sorted(unknown)}: no such attention, expected some of {', '.join(names)}")


def _merge_heads(context_BNQC: Tensor) -> Tensor:
    return context_BNQC.transpose(1, 2).flatten(2)
