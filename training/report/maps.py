"""Attention maps as the report's script takes them: rows and columns of words, in 8 bits.

A sentence of 20 words on 36 regions costs 373 kB of a page for 12 layers of 12 heads, half of it for the way back.

Axes: C layers, N heads, L word pieces, W words, R regions, K of any.
"""

import base64
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.probes.attention_maps import AttentionMaps, BothWays

STEPS = 255


def pack_maps(maps: AttentionMaps, spans: Sequence[tuple[int, int]], *, with_answer: bool) -> dict[str, Any]:
    """Return all that a model sees, by words instead of its tokenizer's pieces; where asked for, the last is [CLS].

    A word's row, and its column, is the sum of those of its pieces; `pieces` tells how many they are, 0 for a word
    that was cut. Maps of heads come after that of the heads' mean.
    """
    of_words = [maps.pieces_of(start, end) for start, end in spans] + [np.zeros(1, np.int64)] * with_answer
    is_of_WL = np.array([np.isin(np.arange(len(maps.starts)), pieces) for pieces in of_words], np.float32)
    is_of_WL = is_of_WL.reshape(len(of_words), len(maps.starts))
    num_layers, num_heads = maps.attention.text_to_regions.shape[:2]
    return {
        "pieces": [len(pieces) for pieces in of_words],
        "layers": num_layers,
        "heads": num_heads,
        "attention": _packed(_mean_first(maps.attention), is_of_WL),
        "rollout": None if maps.rollout is None else _packed(maps.rollout, is_of_WL),
        "alignment": None if maps.alignment is None else {"text_to_regions": pack(is_of_WL @ maps.alignment)},
    }


def pack(values: NDArray[np.float32]) -> dict[str, str]:
    """Return float32 [..., K] as base64: bytes that divide each row's largest value by 255, and float32 of these.

    The largest alone has 255, so that rounding makes no tie with it. What is read back is at most 1/255 of it off.
    """
    rows = values.reshape(math.prod(values.shape[:-1]), values.shape[-1])
    largest = rows.max(axis=1, initial=0)
    parts = rows / np.where(largest > 0, largest, 1)[:, None]
    codes = np.minimum(np.rint(parts * STEPS), STEPS - 1)
    if rows.size:
        codes[np.arange(len(rows)), rows.argmax(axis=1)] = STEPS
    return {"scales": _base64((largest / STEPS).astype("<f4")), "codes": _base64(codes.astype(np.uint8))}


def _packed(maps: BothWays, is_of_WL: NDArray[np.float32]) -> dict[str, dict[str, str]]:
    return {
        "text_to_regions": pack(is_of_WL @ maps.text_to_regions),
        "regions_to_text": pack(maps.regions_to_text @ is_of_WL.T),
    }


def _mean_first(heads: BothWays) -> BothWays:
    """Return [C, 1 + N, ...]."""
    return BothWays(
        text_to_regions=np.concatenate([heads.text_to_regions.mean(1, keepdims=True), heads.text_to_regions], axis=1),
        regions_to_text=np.concatenate([heads.regions_to_text.mean(1, keepdims=True), heads.regions_to_text], axis=1),
    )


def _base64(array: NDArray[Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
