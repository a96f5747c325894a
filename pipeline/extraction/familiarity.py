"""Whether shipped weights met pictures like those that they know, told by how sure they were of their regions."""

from contextlib import suppress
from pathlib import Path

import numpy as np

from detectors.records import RegionFeatures
from stores.errors import DamagedFileError
from stores.manifest import Manifest
from stores.reading import open_store

SURE = 0.9
"""Score of a region that a detector is sure of."""

SURE_SHARES = {"toyworld": 0.155}
"""Share of regions that shipped weights are sure of, on pictures that they know.

Measured over 60 pictures each, 36 regions a picture: of the toy world .155; of Flickr30k .011, of COCO .013. A lower
score does not tell them apart: .2 and more have .67 of the toy world's regions and .74 of Flickr30k's.
"""

LEAST = 1 / 3
"""Least value of that share; below it, the images are unlike those of the weights."""

MIN_PICTURES, MAX_PICTURES = 8, 64


def remarks_on_pictures(weights: str, folder: Path, manifest: Manifest) -> tuple[str, ...]:
    """Return that the pictures in a store are unlike those that the weights know, if they are and that can be told.

    Reads at most `MAX_PICTURES` records; none where nothing is known of the weights, or the shards are elsewhere.
    """
    known = SURE_SHARES.get(weights)
    if known is None or not all((folder / entry.name).exists() for entry in manifest.shards):
        return ()
    scores = []
    with suppress(DamagedFileError), open_store(folder) as store:  # damage is what verify tells
        for place in np.linspace(0, len(store) - 1, min(MAX_PICTURES, len(store))).astype(int).tolist():
            record = store.get(store.image_ids[place])
            scores += [record.class_scores] if isinstance(record, RegionFeatures) else []
    if len(scores) < MIN_PICTURES or (share := float((np.concatenate(scores) >= SURE).mean())) >= LEAST * known:
        return ()
    return (
        f"the weights {weights} do not know such pictures: they are sure of {share:.1%} of the regions, of "
        f"{known:.1%} in pictures that they know; which weights know photographs tells the README",
    )
