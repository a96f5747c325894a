"""The boxes and names of a store's regions, without their features: what alignment needs of millions of them."""

from collections import OrderedDict
from pathlib import Path

from annotations.aligned import ImageRegions
from annotations.records import SentenceImage
from stores.catalog import STORES
from stores.errors import StoreError
from stores.manifest import Manifest, read_manifest

MAX_LOADED_SHARDS = 128
"""Each takes 0.9 kB an image in memory."""

_COCO_NAMES = ("COCO_train2014_{:012d}", "COCO_val2014_{:012d}", "COCO_test2015_{:012d}", "{:012d}")


class RegionLayouts:
    """Looks up images of a region store; a shard's boxes are in memory while they are in use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = _require_regions(folder, read_manifest(folder))
        self._shard_of: dict[str, int] = {}
        self._loaded: OrderedDict[int, dict[str, ImageRegions]] = OrderedDict()
        for number, entry in enumerate(self.manifest.shards):
            with STORES[self.manifest.store].open_shard(folder / entry.name) as shard:
                self._shard_of |= dict.fromkeys(shard.row_ids, number)

    def __len__(self) -> int:
        return len(self._shard_of)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._shard_of

    def find(self, image: SentenceImage) -> ImageRegions | None:
        """Return the image's regions under its own id, or under a name that COCO gives the same photograph."""
        if image.image_id in self._shard_of:
            return self._get(image.image_id)
        if image.coco_id.isdecimal():
            for name in _COCO_NAMES:
                if (image_id := name.format(int(image.coco_id))) in self._shard_of:
                    return self._get(image_id)
        return None

    def _get(self, image_id: str) -> ImageRegions:
        number = self._shard_of[image_id]
        layouts = self._loaded.get(number)
        if layouts is None:
            if len(self._loaded) >= MAX_LOADED_SHARDS:
                self._loaded.popitem(last=False)
            with STORES[self.manifest.store].open_shard(self.folder / self.manifest.shards[number].name) as shard:
                layouts = {layout.image_id: layout for layout in shard.read_layouts()}
            self._loaded[number] = layouts
        return layouts[image_id]


def _require_regions(folder: Path, manifest: Manifest) -> Manifest:
    if manifest.content != "regions":
        raise StoreError(f"{folder} is a store of {manifest.content}, expected one of regions; see vinculum extract")
    return manifest
