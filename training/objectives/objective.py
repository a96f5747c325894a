"""What the model, the recipe and the loop ask of every objective."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from training.batch import Batch, EncoderOutputs
from training.models.catalog import EncoderShape
from training.models.encoder import Encoder
from training.objectives.sizes import Sizes


@dataclass(frozen=True, kw_only=True)
class ObjectiveOptions:
    """Options that every objective has; its own options extend them."""

    weight: float = 1.0
    """Factor of the objective's terms in the loss."""

    def build(self, sizes: Sizes) -> "Objective":
        """Return a new head of this kind."""
        raise NotImplementedError

    @property
    def needs(self) -> tuple[str, ...]:
        """The fields of a batch without which the objective has no loss, such as `masked_words`."""
        return ()

    def weight_at(self, done: float, epoch: int) -> float:
        """Return the weight at a step.

        Args:
            done: share of the run's steps that are done, from 0 to 1.
            epoch: counted from 0.
        """
        return self.weight

    def require_encoder(self, shape: EncoderShape) -> None:
        """The objective can be computed from this encoder.

        Raises:
            ValueError: the encoder lacks what the objective looks at.
        """


class Objective(nn.Module):
    """A head on an encoder; a call maps its outputs and a batch to named loss terms, one for each of `terms`."""

    options: ObjectiveOptions

    def __init__(self, options: ObjectiveOptions, *, terms: tuple[str, ...]) -> None:
        super().__init__()
        self.options = options
        self.terms = terms

    @property
    def needs(self) -> tuple[str, ...]:
        """See `ObjectiveOptions.needs`."""
        return self.options.needs

    def weight_at(self, done: float, epoch: int) -> float:
        """See `ObjectiveOptions.weight_at`."""
        return self.options.weight_at(done, epoch)

    def taps(self, encoder: Encoder) -> tuple[str, ...]:
        """Return the names of the attentions that the objective looks at."""
        return ()

    def narrow(self, batch: Batch, encode: Callable[[Batch], EncoderOutputs]) -> Batch:
        """Return the part of the batch that is learnt from, for all objectives.

        Args:
            encode: returns the outputs of the encoder as it is, without dropout and without gradients.
        """
        return batch
