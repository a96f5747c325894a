"""Image files as a trunk sees them: pixels of a square, decoded when a batch is made.

Axes: S pixels a side, R cells.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from torch import Tensor

from detectors.inputs.images import ImageError, decode_image
from detectors.inputs.square import squeezed
from detectors.records import DecodedImage
from stores.errors import StoreError
from stores.images.bytes import files_sha256, read_source
from stores.images.listing import list_images
from stores.images.outages import MANY, OutageWatch
from stores.images.sources import ImageSource
from stores.locations import shown
from stores.manifest import fingerprint
from stores.numbering import ids_in_range
from training.data.sides.cells import cell_boxes
from training.models.trunk import TrunkShape


class BrokenImageError(StoreError):
    """An image gives no picture; the message says why."""

    def __init__(self, image_id: str, location: str, reason: str) -> None:
        super().__init__(f"image {image_id!r} ({location}): {reason}; expected a whole picture. Repair or remove it")
        self.image_id = image_id
        self.reason = reason

    @property
    def short(self) -> str:
        """The image and the reason, for lists of what was left out."""
        return f"{self.image_id}: {self.reason}"


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """How an image may look otherwise each time that it is seen."""

    crop: float = 1.0
    """Least share of each side that is seen; 1 shows the whole image."""
    mirror: float = 0.0
    """Share of the images that are seen mirrored; of left and right, sentences then lie."""
    brightness: float = 0.0
    """Most by which images are brighter or darker; 0.2 is from 0.8 to 1.2 times as bright."""

    def __post_init__(self) -> None:
        if not (0 < self.crop <= 1 and 0 <= self.mirror <= 1 and 0 <= self.brightness < 1):
            raise ValueError(
                f"augmentation: crop {self.crop}, mirror {self.mirror}, brightness {self.brightness}; expected a crop "
                "above 0 and up to 1, a share of mirrored images, and a brightness below 1"
            )


class Pictures:
    """Images by id, and the cells that a trunk makes of each."""

    def __init__(self, places: Sequence[str], trunk: TrunkShape) -> None:
        """List the images, as vinculum extract does; none is opened.

        Raises:
            SourceError: a place holds no image, or two of them claim one id.
        """
        self.places = tuple(map(shown, places))
        """As they are shown; nothing is read by them."""
        self.trunk = trunk
        images = list_images(places).images
        self.ids = ids_in_range(images.table["image_id"])
        """Whose the numbers among the ids are, as they tell; None: they do not."""
        self._sources = {image.image_id: image for image in images}
        self._outages = OutageWatch()
        self.cells = cell_boxes(trunk.side, trunk.side)

    @property
    def image_ids(self) -> list[str]:
        return list(self._sources)

    @property
    def fingerprint(self) -> str:
        """Return what changes with the set of images; where they lie does not matter."""
        return fingerprint({"images": self.image_ids})

    @cached_property
    def content(self) -> str:
        """Return what changes with the files: their sizes and, of `NUM_SAMPLED` of them, the bytes; read once.

        Images at URLs are known by their ids alone.
        """
        return files_sha256(list(self._sources.values()))

    def read(
        self, image_id: str, augmentation: Augmentation | None = None, draw: np.random.Generator | None = None
    ) -> Tensor:
        """Return the image squeezed to the trunk's square, uint8 [3, S, S]; otherwise by what is drawn, where it is.

        Raises:
            BrokenImageError: it gives no picture.
            OutageError: image after image cannot be read.
        """
        image = self._decode(image_id)
        if augmentation is None or draw is None:
            pixels: Tensor = squeezed(image, self.trunk.image_size).model_input
            return pixels
        return augmented(image.pixels_rgb, self.trunk.image_size, augmentation, draw)

    def size(self, image_id: str) -> tuple[int, int]:
        """Return width and height of the image, turned as its EXIF says; errors are those of `read`."""
        image = self._decode(image_id)
        return image.width, image.height

    def source(self, image_id: str) -> ImageSource:
        """Return where the image is."""
        return self._sources[image_id]

    def _decode(self, image_id: str) -> DecodedImage:
        source = self._sources[image_id]
        try:
            data = read_source(source)
        except OSError as error:
            self._outages.not_read(source, str(error), list(islice(self._sources.values(), MANY)))
            raise BrokenImageError(image_id, source.location, str(error)) from error
        self._outages.read(source)
        try:
            return decode_image(image_id, data)
        except ImageError as error:
            raise BrokenImageError(image_id, source.location, str(error)) from error


def augmented(
    pixels_rgb: NDArray[np.uint8], side: int, augmentation: Augmentation, draw: np.random.Generator
) -> Tensor:
    """Return a drawn view of an image as a square, uint8 [3, side, side]; always as many numbers are drawn."""
    share, left, top, mirrored, brightness = draw.random(5)
    share = augmentation.crop + (1 - augmentation.crop) * share
    image = Image.fromarray(pixels_rgb)
    width, height = share * image.width, share * image.height
    x, y = left * (image.width - width), top * (image.height - height)
    image = image.resize((side, side), Image.Resampling.BICUBIC, box=(x, y, x + width, y + height))
    if mirrored < augmentation.mirror:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if augmentation.brightness:
        image = ImageEnhance.Brightness(image).enhance(1 + augmentation.brightness * (2 * brightness - 1))
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)
