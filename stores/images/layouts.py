"""Files of images as alignment sees them: their sizes; of regions they have none."""

import sys

import numpy as np
import pyarrow as pa

from annotations.alignment.sentences import ImageRegions
from annotations.image_ids import Ids
from detectors.inputs.images import ImageError, upright_size
from stores.images.bytes import read_source
from stores.images.outages import MANY, OutageWatch
from stores.images.sources import ImageSources
from stores.numbering import has_numbers, ids_in_range

MAX_KEPT = 1 << 16
"""Images whose sizes are remembered, half a kilobyte each, before all are forgotten."""


class PictureLayouts:
    """Looks up images among files; of a file that is asked for the first bytes are decoded."""

    def __init__(self, sources: ImageSources) -> None:
        self.sources = sources
        self._rows = {image_id: row for row, image_id in enumerate(sources.image_ids())}
        self._found: dict[str, ImageRegions | None] = {}
        self._outages = OutageWatch()

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._rows

    @property
    def has_numbers(self) -> bool:
        """Whether some ids do not tell whose they are."""
        return has_numbers(pa.array(filter(str.isascii, self._rows), pa.string()))

    @property
    def ids(self) -> Ids | None:
        """Who numbers the images, as the numbers tell; None where they do not."""
        return ids_in_range(pa.array(filter(str.isascii, self._rows), pa.string()))

    def get(self, image_id: str) -> ImageRegions | None:
        """Return the image of this id, without regions; None also of one that cannot be read."""
        if image_id not in self._rows:
            return None
        if image_id not in self._found:
            if len(self._found) >= MAX_KEPT:
                self._found.clear()
            self._found[image_id] = self._read(image_id)
        return self._found[image_id]

    def _read(self, image_id: str) -> ImageRegions | None:
        row = self._rows[image_id]
        source = self.sources[row]
        try:
            data = read_source(source)
        except OSError as error:
            self._outages.not_read(source, str(error), self.sources[max(0, row - MANY) : row + MANY])
            return None
        self._outages.read(source)
        try:
            width, height = upright_size(data, max_pixels=sys.maxsize)  # no pixel is decoded
        except ImageError:
            return None
        nothing = np.empty(0, np.int32)
        return ImageRegions(
            image_id=image_id,
            width=width,
            height=height,
            boxes_xyxy=np.empty((0, 4), np.float32),
            class_ids=nothing,
            attribute_ids=nothing,
        )
