"""Word pieces as vectors, the way BERT and everything made after it embeds them."""

import torch
from torch import Tensor, nn

from training.models.layers import NORM_EPSILON


class TextEmbedding(nn.Module):
    """Word, position and segment of each piece.

    With `freeze_first_rows`, row 0 of the tables gets no gradient from look-ups, as in LXMERT's public code.
    """

    def __init__(
        self,
        *,
        vocab_size: int,
        hidden_size: int,
        max_positions: int,
        num_segments: int,
        dropout: float,
        freeze_first_rows: bool = False,
    ) -> None:
        super().__init__()
        padding_row = 0 if freeze_first_rows else None
        self.word = nn.Embedding(vocab_size, hidden_size, padding_idx=padding_row)
        self.position = nn.Embedding(max_positions, hidden_size, padding_idx=padding_row)
        self.segment = nn.Embedding(num_segments, hidden_size, padding_idx=padding_row)
        self.norm = nn.LayerNorm(hidden_size, eps=NORM_EPSILON)
        self.dropout = nn.Dropout(dropout)

    def forward(self, input_ids_BL: Tensor, segment_ids_BL: Tensor | None = None) -> Tensor:
        """Return float [B, L, E]; without segments, all pieces are of the first."""
        positions_L = torch.arange(input_ids_BL.shape[1], device=input_ids_BL.device)
        segment_ids = torch.zeros_like(positions_L) if segment_ids_BL is None else segment_ids_BL
        summed_BLE = self.word(input_ids_BL) + self.position(positions_L) + self.segment(segment_ids)
        return self.dropout(self.norm(summed_BLE))
