"""Hides word pieces and regions that objectives ask for. Source: Tan & Bansal, EMNLP 2019, section 3.1.

Of what is chosen, 80 % is blanked, 10 % exchanged at random, and 10 % left as it is but asked for all the same.
"""

import numpy as np
from numpy.typing import NDArray

BLANKED, EXCHANGED = 0.8, 0.9
"""Below the first a draw blanks, below the second it exchanges, above it leaves."""


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
