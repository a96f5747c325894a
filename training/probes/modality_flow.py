"""Inter-modality flow: of what words and regions take in, how much do they take from each other?

Source: Xue et al., NeurIPS 2021. A layer's map is half its attention, heads averaged, and half of each place itself;
maps are multiplied, the later on the left; the flow is what crosses between words and regions over all there is. The
paper speaks of attention flow, its formula is attention rollout. [CLS] and [SEP] are words. Padding and the end token
are neither: they are left out, and rows sum to 1 again, before anything is multiplied.

Flow depends on lengths: attention that is the same everywhere has a flow, too, and less where one side is longer. So it
always stands beside that of uniform attention for a pair's own lengths; between different lengths only the ratio of the
two may be compared.

A cross layer of two streams has two sub-layers, each with its residual: words and regions attend to each other, then
each to themselves. Its map is the product of both. A softmax over the other side alone leaves nothing to choose: half
of what any place takes in crosses, within a layer and from the input, whatever the weights are. The flow of two streams
is 1/2, that of uniform attention too, and their ratio 1: their build decides it, not what they have learnt.

Axes: B pairs, N heads, L word pieces, R regions, T = L + R places.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from training.batch import EncoderOutputs
from training.models.blocks import Blocks, blocks_of
from training.models.rollout import after, mean_over_heads, with_residual


@dataclass(frozen=True, kw_only=True, eq=False)
class Flow:
    """What crosses between words and regions in one layer; all float64 [B], 0 where there is no region."""

    within: Tensor
    """By the layer alone."""
    within_uniform: Tensor
    """The same of attention that is uniform."""
    from_input: Tensor
    """From the input of the first layer in which words and regions meet, through all up to this one."""
    from_input_uniform: Tensor


def modality_flow(outputs: EncoderOutputs, text_mask: Tensor, region_mask: Tensor) -> Iterator[tuple[str, Flow]]:
    """Yield every layer's name and flow, the first first; no more than the products of two layers are held at once.

    Products are exact to float64, whatever autocast or the device would have.

    Args:
        outputs: with the taps of all layers in which words and regions meet.
        text_mask: bool [B, L]; False for padding.
        region_mask: bool [B, R]; the same.
    """
    rolled_BTT: Tensor | None = None
    for number, layer in enumerate(outputs.layers, 1):
        blocks, is_joint = blocks_of(outputs, layer), layer in outputs.taps
        layer_BTT = _map_of(blocks, is_joint, text_mask, region_mask)
        within = crossing(layer_BTT, text_mask, region_mask)
        rolled_BTT = after(layer_BTT, rolled_BTT)
        del layer_BTT  # so that it is gone when the next is made
        uniform = uniform_flow if is_joint else _flow_of_two_streams
        yield (
            layer,
            Flow(
                within=within,
                within_uniform=uniform(text_mask.sum(1), region_mask.sum(1), num_layers=1),
                from_input=crossing(rolled_BTT, text_mask, region_mask),
                from_input_uniform=uniform(text_mask.sum(1), region_mask.sum(1), num_layers=number),
            ),
        )


def crossing(map_BTT: Tensor, text_mask: Tensor, region_mask: Tensor) -> Tensor:
    """Return which share of a map crosses between words and regions, [B].

    In the map, what is padding takes all from itself and gives nothing, as `with_residual` leaves it.
    """
    length = text_mask.shape[1]
    inter_B = map_BTT[:, :length, length:].sum((1, 2)) + map_BTT[:, length:, :length].sum((1, 2))
    num_padding_B = (~text_mask).sum(1) + (~region_mask).sum(1)
    return inter_B / (map_BTT.sum((1, 2)) - num_padding_B)


def uniform_flow(num_pieces_B: Tensor, num_regions_B: Tensor, *, num_layers: int) -> Tensor:
    """Return the flow through so many layers of one stream whose attention is uniform, float64 [B].

    Half is kept in every layer, so that a share of 1 - 2^-layers is mixed once or more; a mixed share is uniform.
    """
    mixed = 1 - 0.5**num_layers
    return mixed * 2 * num_pieces_B.double() * num_regions_B / (num_pieces_B + num_regions_B) ** 2


def _flow_of_two_streams(num_pieces_B: Tensor, num_regions_B: Tensor, *, num_layers: int) -> Tensor:
    """Return the same of two streams: half crosses, however many layers there are."""
    return 0.5 * ((num_pieces_B > 0) & (num_regions_B > 0)).double()


def _map_of(blocks: Blocks, is_joint: bool, text_mask: Tensor, region_mask: Tensor) -> Tensor:
    """Return what a layer takes from each place, float64 [B, T, T]; padding takes all from itself and gives nothing."""
    if is_joint:
        return with_residual(_attention(blocks, text_mask, region_mask))
    nothing = {name: torch.zeros_like(getattr(blocks, name)) for name in vars(blocks)}
    to_others = replace(blocks, text=nothing["text"], regions=nothing["regions"])
    to_own = replace(blocks, text_to_regions=nothing["text_to_regions"], regions_to_text=nothing["regions_to_text"])
    crossed_BTT = with_residual(_attention(to_others, text_mask, region_mask))
    return after(with_residual(_attention(to_own, text_mask, region_mask)), crossed_BTT)


def _attention(blocks: Blocks, text_mask: Tensor, region_mask: Tensor) -> Tensor:
    """Return the heads' mean [B, T, T]; rows sum to 1 over what is there, or are zeros where they attend to nothing."""
    there_BT = torch.cat([text_mask, region_mask], 1)
    length, size = text_mask.shape[1], there_BT.shape[1]
    text, regions = slice(length), slice(length, size)
    mean_BTT = torch.empty(len(there_BT), size, size, dtype=torch.float64, device=there_BT.device)
    mean_BTT[:, text, text] = mean_over_heads(blocks.text)
    mean_BTT[:, text, regions] = mean_over_heads(blocks.text_to_regions)
    mean_BTT[:, regions, text] = mean_over_heads(blocks.regions_to_text)
    mean_BTT[:, regions, regions] = mean_over_heads(blocks.regions)
    mean_BTT *= there_BT[:, :, None]
    mean_BTT *= there_BT[:, None]
    mean_BTT /= mean_BTT.sum(2, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    return mean_BTT
