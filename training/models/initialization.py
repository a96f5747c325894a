"""How new weights begin."""

from torch import nn

INITIAL_STD = 0.02
"""BERT's. What a layer adds grows with its width: where that is a twelfth of BERT's, 0.07 adds as much."""


def initialize(module: nn.Module, std: float = INITIAL_STD) -> None:
    """All linear and embedding weights of `module` are N(0, std), biases 0, norms 1 and 0; as BERT begins."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=std)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
        if isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
