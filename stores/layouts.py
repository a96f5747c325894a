"""The boxes and names of a store's regions, without their features: what alignment needs of millions of them."""

from collections import OrderedDict
from pathlib import Path

from annotations.alignment.sentences import ImageRegions
from annotations.image_ids import Ids
from stores.errors import DamagedFileError, StoreError
from stores.image_index import open_index
from stores.manifest import Manifest, ShardEntry, read_manifest
from stores.numbering import has_numbers, known_ids
from stores.open_shards import open_entry

MAX_LOADED_SHARDS = 128
"""Each takes 0.9 kB an image in memory."""


class RegionLayouts:
    """Looks up images of a region store; a shard's boxes are in memory while they are in use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = _require_regions(folder, read_manifest(folder))
        self._index = open_index(folder, self.manifest)
        self._loaded: OrderedDict[int, list[ImageRegions]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._index

    @property
    def has_numbers(self) -> bool:
        """Whether some ids do not tell whose they are."""
        return has_numbers(self._index.column)

    @property
    def ids(self) -> Ids | None:
        """Who numbers the images, as the manifest notes it or else the numbers tell; None where neither does."""
        return known_ids(self.manifest.notes, self._index.column)

    def get(self, image_id: str) -> ImageRegions | None:
        """Return the regions of the image of this id."""
        place = self._index.find(image_id)
        if place is None:
            return None
        number, row = place
        if number not in self._loaded:
            if len(self._loaded) >= MAX_LOADED_SHARDS:
                self._loaded.popitem(last=False)
            self._loaded[number] = self._read(self.manifest.shards[number])
        layout = self._loaded[number][row]
        if layout.image_id != image_id:
            found = f"image {layout.image_id!r} in row {row}"
            raise DamagedFileError(
                self.folder / self.manifest.shards[number].name, found=found, expected=f"image {image_id!r}"
            )
        return layout

    def beginning(self) -> list[ImageRegions]:
        """Return the regions of the first shard's images; none of an empty store."""
        return self._read(self.manifest.shards[0]) if self.manifest.shards else []

    def _read(self, entry: ShardEntry) -> list[ImageRegions]:
        path = self.folder / entry.name
        if (size := path.stat().st_size) != entry.bytes:  # made again since the manifest was read
            raise DamagedFileError(path, found=f"{size} bytes", expected=f"{entry.bytes}, as the manifest has it")
        with open_entry(self.folder, self.manifest, entry) as shard:
            return shard.read_layouts()


def _require_regions(folder: Path, manifest: Manifest) -> Manifest:
    if manifest.content == "grid":
        raise StoreError(
            f"{folder} is a store of grids, whose cells have no names that words could be compared with; give --images "
            "instead: sentences of images join grids by the images' ids"
        )
    if manifest.content != "regions":
        raise StoreError(f"{folder} is a store of {manifest.content}, expected one of regions; see vinculum extract")
    return manifest
