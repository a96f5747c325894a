"""Random numbers for what is written about a picture, apart from those that drew it."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")

_STREAMS = {"questions": 1, "votes": 2, "rewording": 3, "hypotheses": 4, "statements": 5, "relations": 6}
"""Their numbers stay: a new layout gets a new one, so that the others' files do not change."""


def random_stream(name: str, seed: int, image_id: int = 0) -> np.random.Generator:
    """Return the generator of one purpose for one picture; 0 where pictures are looked at together."""
    return np.random.default_rng([seed, image_id, _STREAMS[name]])


def choose(rng: np.random.Generator, items: Sequence[T]) -> T:
    """Return one of the items."""
    return items[int(rng.integers(len(items)))]


def sample(rng: np.random.Generator, items: Sequence[T], number: int | None = None) -> list[T]:
    """Return different ones of the items, all if no number is given, in random order."""
    return [items[index] for index in rng.permutation(len(items))[:number]]
