"""The parts that encoders of BERT's kind are built from: post-norm sub-layers with residuals.

Axes: B batch, T positions of a sequence, E hidden size.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from training.batch import AttentionTap
from training.models.attention import Attention

NORM_EPSILON = 1e-12
"""BERT's, and that of everything made after it."""


class Residual(nn.Module):
    """Ends a sub-layer: linear, dropout, plus what went into the sub-layer, layer norm."""

    def __init__(self, size: int, hidden_size: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(size, hidden_size)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(hidden_size, eps=NORM_EPSILON)

    def forward(self, result: Tensor, residual_BTE: Tensor) -> Tensor:
        return self.norm(self.dropout(self.dense(result)) + residual_BTE)


class SelfAttention(nn.Module):
    """A sequence attends to itself."""

    def __init__(self, hidden_size: int, num_heads: int, dropout: float, attention_dropout: float) -> None:
        super().__init__()
        self.attention = Attention(hidden_size, num_heads, attention_dropout)
        self.output = Residual(hidden_size, hidden_size, dropout)

    def forward(self, states_BTE: Tensor, mask_B11T: Tensor, *, tap: bool) -> tuple[Tensor, AttentionTap | None]:
        context_BTE, tapped = self.attention.attend(*self.attention.project(states_BTE), mask_B11T, tap=tap)
        return self.output(context_BTE, states_BTE), tapped


class FeedForward(nn.Module):
    """Each position by itself: wider, GELU, back."""

    def __init__(self, hidden_size: int, intermediate_size: int, dropout: float) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, intermediate_size)
        self.output = Residual(intermediate_size, hidden_size, dropout)

    def forward(self, states_BTE: Tensor) -> Tensor:
        return self.output(F.gelu(self.dense(states_BTE)), states_BTE)


class Layer(nn.Module):
    """BERT's layer: self-attention, then feed-forward."""

    def __init__(
        self, hidden_size: int, intermediate_size: int, num_heads: int, dropout: float, attention_dropout: float
    ) -> None:
        super().__init__()
        self.self_attention = SelfAttention(hidden_size, num_heads, dropout, attention_dropout)
        self.feed_forward = FeedForward(hidden_size, intermediate_size, dropout)

    def forward(self, states_BTE: Tensor, mask_B11T: Tensor, *, tap: bool) -> tuple[Tensor, AttentionTap | None]:
        states_BTE, tapped = self.self_attention(states_BTE, mask_B11T, tap=tap)
        return self.feed_forward(states_BTE), tapped
