"""Hides word pieces and regions that objectives ask for. Source: Tan & Bansal, EMNLP 2019, section 3.1.

Of what is chosen, 80 % is blanked, 10 % exchanged at random, and 10 % left as it is but asked for all the same.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

BLANKED, EXCHANGED = 0.8, 0.9
"""Below the first a draw blanks, below the second it exchanges, above it leaves."""


MaskName = Literal["attention", "random", "block"]
"""Cells to hide: what a drawn one attends to most; any; or those around it."""


def mask_pieces(
    ids: NDArray[np.int64], share: float, rng: np.random.Generator, *, mask_id: int, ordinary_ids: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pieces with some hidden, int64 [pieces], and which are to be guessed, int64 [M]."""
    chosen, fates = rng.random((2, len(ids)))
    positions = np.flatnonzero(chosen < share)
    hidden = ids.copy()
    for position in positions:
        if fates[position] < BLANKED:
            hidden[position] = mask_id
        elif fates[position] < EXCHANGED:
            hidden[position] = ordinary_ids[rng.integers(len(ordinary_ids))]
    return hidden, positions


def choose_regions(
    num_regions: int, share: float, rng: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return which regions are to be guessed, int64 [M], and those of them to blank and to exchange."""
    chosen, fates = rng.random((2, num_regions))
    positions = np.flatnonzero(chosen < share)
    fates = fates[positions]
    return positions, positions[fates < BLANKED], positions[(fates >= BLANKED) & (fates < EXCHANGED)]


def nearest_cells(boxes_R4: NDArray[np.float32], seed: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the `count` cells nearest to a seed, itself the first, int64; of those equally far any.

    Distances are between centres, in cells.
    """
    centres_R2 = (boxes_R4[:, :2] + boxes_R4[:, 2:]) / 2
    sizes_2 = boxes_R4[seed, 2:] - boxes_R4[seed, :2]
    distances_R = np.square((centres_R2 - centres_R2[seed]) / sizes_2).sum(1).round(3)
    return np.lexsort((rng.random(len(boxes_R4)), distances_R))[:count]
