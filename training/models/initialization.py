"""How new weights begin."""

from torch import nn

INITIAL_STD = 0.02


def initialize(module: nn.Module) -> None:
    """All linear and embedding weights of `module` are N(0, 0.02), biases 0, norms 1 and 0; as BERT begins."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding):
            nn.init.normal_(part.weight, std=INITIAL_STD)
        if isinstance(part, nn.Linear) and part.bias is not None:
            nn.init.zeros_(part.bias)
        if isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
