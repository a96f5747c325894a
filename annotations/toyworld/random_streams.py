"""Random numbers for what is written about a picture, apart from those that drew it."""

import numpy as np

_STREAMS = {"questions": 1, "votes": 2, "rewording": 3, "hypotheses": 4, "statements": 5}
"""Their numbers stay: a new layout gets a new one, so that the others' files do not change."""


def random_stream(name: str, seed: int, image_id: int = 0) -> np.random.Generator:
    """Return the generator of one purpose for one picture; 0 where pictures are looked at together."""
    return np.random.default_rng([seed, image_id, _STREAMS[name]])
