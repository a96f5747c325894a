"""Small networks on top of an encoder, as BERT and LXMERT have them.

Axes: E hidden size, A answers.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from training.models.layers import NORM_EPSILON


class Transform(nn.Module):
    """What comes before a decoder: linear, GELU, layer norm."""

    def __init__(self, hidden_size: int) -> None:
        super().__init__()
        self.dense = nn.Linear(hidden_size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size, eps=NORM_EPSILON)

    def forward(self, states_E: Tensor) -> Tensor:
        return self.norm(F.gelu(self.dense(states_E)))


class AnswerHead(nn.Module):
    """One score for every answer: linear to twice the width, GELU, layer norm, linear."""

    def __init__(self, size: int, hidden_size: int, num_answers: int) -> None:
        super().__init__()
        self.dense = nn.Linear(size, hidden_size)
        self.norm = nn.LayerNorm(hidden_size, eps=NORM_EPSILON)
        self.decoder = nn.Linear(hidden_size, num_answers)

    def forward(self, pooled_E: Tensor) -> Tensor:
        return self.decoder(self.norm(F.gelu(self.dense(pooled_E))))
