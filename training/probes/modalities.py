"""How apart words and regions are kept, layer by layer: what flows between them, and whether their states lie apart."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stores.errors import StoreError
from training.batch import Batch
from training.data.batches import BatchMaker
from training.data.order import evaluation_batches
from training.data.pictures import BrokenImageError
from training.model import Model
from training.probes.modality_clusters import mutual_information, two_clusters
from training.probes.modality_flow import modality_flow

BATCH_SIZE = 64

MODALITIES = "modalities.json"
"""In the folder of a run, what was measured on it."""


@dataclass(frozen=True, kw_only=True)
class LayerModalities:
    """One layer's figures, each the mean over pairs of a sentence and an image."""

    flow_within: float
    """Share of what places take in that crosses between words and regions; see `modality_flow`."""
    flow_within_uniform: float
    """The same of uniform attention, for every pair's own lengths."""
    flow_within_over_uniform: float
    """Mean of the pairs' ratios; what models that see different numbers of regions can be compared by."""
    flow_from_input: float
    """From the input to this layer, through all before it."""
    flow_from_input_uniform: float
    flow_from_input_over_uniform: float
    nmi: float
    """Normalised mutual information of two clusters of states and the modalities; arithmetic mean of entropies."""
    nmi_geometric: float
    """With the geometric mean of the entropies as the norm."""
    nmi_max: float
    """With the larger of the two."""


@dataclass(frozen=True, kw_only=True)
class Modalities:
    """What was measured, and on what."""

    num_pairs: int
    """Pairs of sentences and images, without images that have no region."""
    pieces: float
    """Mean number of a sentence's, with [CLS] and [SEP]."""
    regions: float
    """Mean number of an image's."""
    layers: dict[str, LayerModalities]
    """By the layers in which words and regions meet, the first first."""

    @property
    def summary(self) -> dict[str, float]:
        """What encoders of any number of layers are compared by: flow within a layer is the layers' mean, all else that
        of the last."""
        figures = [asdict(layer) for layer in self.layers.values()]
        return {
            name: sum(each[name] for each in figures) / len(figures) if name.startswith("flow_within") else last
            for name, last in figures[-1].items()
        }


class EvaluationPairs:
    """Batches of so many of some sentences, spread evenly, with nothing hidden; the same for every model.

    Sentences about an image that gives no picture are left out.
    """

    def __init__(self, maker: BatchMaker, numbers: NDArray[np.int64], max_sentences: int) -> None:
        places = np.linspace(0, len(numbers) - 1, min(max_sentences, len(numbers))).round().astype(np.int64)
        self._maker = maker.for_evaluation()
        self._chosen = numbers[places]
        self.skipped: dict[str, str] = {}
        """The images that were left out on the way, by their ids, with the reasons."""

    def __iter__(self) -> Iterator[Batch]:
        """Yield the batches.

        Raises:
            StoreError: no image gives a picture.
        """
        is_any = False
        for part in evaluation_batches(self._chosen, self._maker.shards.lengths[self._chosen], BATCH_SIZE):
            batch = self._make(part)
            if batch is not None:
                is_any = True
                yield batch
        if self.skipped and not is_any:
            raise StoreError(
                f"modalities: no image of {len(self._chosen)} sentences gives a picture, expected one at least "
                f"({next(iter(self.skipped.values()))})"
            )

    def _make(self, part: NDArray[np.int64]) -> Batch | None:
        """Return the batch of these sentences but those of broken images; None where that leaves none."""
        while len(part):
            try:
                return self._maker.make(part)
            except BrokenImageError as error:
                self.skipped[error.image_id] = error.short
                part = part[~self._maker.shards.are_about(part, error.image_id)]
        return None


def measure_modalities(model: Model, batches: Iterable[Batch], device: str = "cpu") -> Modalities:
    """Return how a frozen model keeps words and regions apart; any encoder's.

    Raises:
        StoreError: there is no pair whose image has a region.
    """
    model = model.to(device).eval()
    layers = model.encoder.meeting_layers
    taps = [tap for layer in layers for tap in model.encoder.taps_of(layer)]
    sums: dict[str, dict[str, Tensor]] = {layer: {} for layer in layers}
    num_pairs = num_pieces = num_regions = 0
    for batch in batches:
        on_device = batch.to(torch.device(device))
        text_mask, region_mask = on_device.text_mask, on_device.region_mask
        seen_B = region_mask.any(1)
        with torch.inference_mode():
            outputs = model.encode(on_device, taps, keep_states=True)
            for layer, flow in modality_flow(outputs, text_mask, region_mask):
                figures = {
                    "flow_within": flow.within,
                    "flow_within_uniform": flow.within_uniform,
                    "flow_within_over_uniform": flow.within / flow.within_uniform,
                    "flow_from_input": flow.from_input,
                    "flow_from_input_uniform": flow.from_input_uniform,
                    "flow_from_input_over_uniform": flow.from_input / flow.from_input_uniform,
                    **_apart(outputs.states[layer], text_mask, region_mask),
                }
                for name, each_B in figures.items():
                    sums[layer][name] = sums[layer].get(name, 0) + each_B[seen_B].sum()
        num_pairs += int(seen_B.sum())
        num_pieces += int(text_mask[seen_B].sum())
        num_regions += int(region_mask.sum())
    if not num_pairs:
        raise StoreError("modalities: no pair of a sentence and an image with regions, expected at least one")
    return Modalities(
        num_pairs=num_pairs,
        pieces=num_pieces / num_pairs,
        regions=num_regions / num_pairs,
        layers={
            layer: LayerModalities(**{name: float(each) / num_pairs for name, each in of_layer.items()})
            for layer, of_layer in sums.items()
        },
    )


def _apart(states: tuple[Tensor, Tensor], text_mask: Tensor, region_mask: Tensor) -> dict[str, Tensor]:
    there_BT = torch.cat([text_mask, region_mask], 1)
    is_text_BT = torch.cat([torch.ones_like(text_mask), torch.zeros_like(region_mask)], 1)
    found = mutual_information(two_clusters(torch.cat(states, 1), there_BT), is_text_BT, there_BT)
    return {"nmi": found.arithmetic, "nmi_geometric": found.geometric, "nmi_max": found.max}
