"""Less memory for more time: what layers compute on the way to a loss is computed again for its gradient."""

from functools import partial

from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers.models.swin.modeling_swin import SwinLayer

from training.models.layers import Layer
from training.models.two_stream import CrossLayer

RECOMPUTED = Layer | CrossLayer | SwinLayer


def recompute_activations(encoder: nn.Module) -> None:
    """The encoder's layers keep only what goes into them; losses and gradients stay what they were, dropout too."""
    for part in encoder.modules():
        if isinstance(part, RECOMPUTED):
            part.forward = partial(checkpoint, part.forward, use_reentrant=False)  # type: ignore[method-assign]
