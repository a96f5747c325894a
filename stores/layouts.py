"""The boxes and names of a store's regions, without their features: what alignment needs of millions of them."""

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from annotations.aligned import ImageRegions
from annotations.records import SentenceImage
from stores.catalog import STORES
from stores.errors import DamagedFileError, StoreError
from stores.image_index import open_index
from stores.manifest import Manifest, ShardEntry, read_manifest

MAX_LOADED_SHARDS = 128
"""Each takes 0.9 kB an image in memory."""

_COCO_NAMES = ("COCO_train2014_{:012d}", "COCO_val2014_{:012d}", "COCO_test2015_{:012d}", "{:012d}")


class RegionLayouts:
    """Looks up images of a region store; a shard's boxes are in memory while they are in use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = _require_regions(folder, read_manifest(folder))
        self._index = open_index(folder, self.manifest)
        self._loaded: OrderedDict[int, dict[str, ImageRegions]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._index

    def find(self, image: SentenceImage) -> ImageRegions | None:
        """Return the image's regions under its own id, or under a name that COCO gives the same photograph."""
        return next((found for name in possible_ids(image) if (found := self._get(name)) is not None), None)

    def _get(self, image_id: str) -> ImageRegions | None:
        place = self._index.find(image_id)
        if place is None:
            return None
        number, _ = place
        layouts = self._loaded.get(number)
        if layouts is None:
            if len(self._loaded) >= MAX_LOADED_SHARDS:
                self._loaded.popitem(last=False)
            layouts = self._read(self.manifest.shards[number])
            self._loaded[number] = layouts
        return layouts[image_id]

    def _read(self, entry: ShardEntry) -> dict[str, ImageRegions]:
        path = self.folder / entry.name
        if (size := path.stat().st_size) != entry.bytes:  # made again since the manifest was read
            raise DamagedFileError(path, found=f"{size} bytes", expected=f"{entry.bytes}, as the manifest has it")
        with STORES[self.manifest.store].open_shard(path) as shard:
            return {layout.image_id: layout for layout in shard.read_layouts()}


def possible_ids(image: SentenceImage) -> Iterator[str]:
    """Yield the image's own id, then the names that COCO gives the same photograph."""
    yield image.image_id
    if image.coco_id.isdecimal():
        yield from (name.format(int(image.coco_id)) for name in _COCO_NAMES)


def _require_regions(folder: Path, manifest: Manifest) -> Manifest:
    if manifest.content == "grid":
        raise StoreError(
            f"{folder} is a store of grids, whose cells have no names that words could be compared with; give --images "
            "instead: sentences of images join grids by the images' ids"
        )
    if manifest.content != "regions":
        raise StoreError(f"{folder} is a store of {manifest.content}, expected one of regions; see vinculum extract")
    return manifest
