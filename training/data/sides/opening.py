"""Which side images are on: that of a store's content, or that of files."""

from pathlib import Path

from stores.reading import open_store
from training.data.pictures import Pictures
from training.data.sides.grids import GridSide
from training.data.sides.pixels import PixelSide
from training.data.sides.regions import RegionSide
from training.data.sides.side import Side


def open_side(images: Path | Pictures) -> Side:
    """Return the side of a store of regions or grids, or of the files of images.

    Raises:
        StoreError: a store of sentences.
        DamagedFileError: a shard is missing or not whole.
    """
    if isinstance(images, Pictures):
        return PixelSide(images)
    store = open_store(images)
    return GridSide(store) if store.manifest.content == "grid" else RegionSide(store)
