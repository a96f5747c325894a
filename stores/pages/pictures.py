"""Pictures for a page: a photograph as a small data: URI, or the reason why there is none."""

import base64
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from detectors.inputs.images import ImageError, decode_image
from stores.errors import DamagedFileError
from stores.images.bytes import read_source
from stores.images.sources import ImageSource, ImageSources
from stores.plan import read_plan

MAX_SIDE = 640
JPEG_QUALITY = 78


@dataclass(frozen=True, kw_only=True)
class Picture:
    """A photograph to show; exactly one of `data_uri` and `missing` is not empty."""

    data_uri: str = ""
    missing: str = ""
    """Why there is no picture, for people."""


def load_picture(source: ImageSource, *, width: int, height: int, sha256: bytes | None) -> Picture:
    """Return the upright picture with no side above 640 pixels.

    `width`, `height` and `sha256` of the file, None where it is not known, are those the features were made from: a
    picture that differs is another picture, on which their boxes would mean nothing.
    """
    try:
        data = read_source(source)
        if sha256 is not None and hashlib.sha256(data).digest() != sha256:
            return Picture(missing="the picture has changed: its file is not the one that the store was made from")
        image = Image.fromarray(decode_image(source.image_id, data).pixels_rgb)
    except (OSError, ImageError, ImportError, ValueError) as error:  # fsspec lacks a package, or knows no such protocol
        return Picture(missing=f"the picture can no longer be read: {error}")
    if image.size != (width, height):
        return Picture(
            missing=f"the picture has changed: it is {image.width} x {image.height} now, was {width} x {height}"
        )
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return Picture(data_uri=f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}")


def planned_sources(regions: Path) -> ImageSources:
    """Return where a region store's plan says that its images are; nothing where the plan is lost."""
    try:
        return read_plan(regions).images
    except DamagedFileError:  # shards outlive a lost plan
        return ImageSources.of(())
