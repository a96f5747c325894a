"""Bytes to upright RGB pixels, and the side lengths that bottom-up-attention resizes to."""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile

from detectors.records import DecodedImage

MAX_PIXELS = 128_000_000
"""More than any camera's but those for which it is asked; a PNG of so many takes 2.2 GB while it is decoded."""

FORMATS = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF")
"""Pillow's names of what is decoded; it knows more, among them EPS, which would run a PostScript program."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF orientation to the turn that puts the picture upright; any other value leaves it as it is."""

SIDEWAYS = (5, 6, 7, 8)
"""Orientations whose turn makes width of height."""

Image.init()  # fills Image.OPEN here once, so that loader threads only read it


class ImageError(ValueError):
    """These bytes give no picture; the message is the reason, without the image's name."""


def decode_image(image_id: str, data: bytes, *, max_pixels: int = MAX_PIXELS) -> DecodedImage:
    """Return the picture upright and in RGB, transparent parts on white; of an animation the first frame.

    Raises:
        ImageError: the bytes are no picture, or a damaged, truncated or too large one.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise RuntimeError(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is True, so truncated images would silently turn grey; "
            "expected False: remove the line that sets it"
        )
    if not data:
        raise ImageError("empty file")
    format_name = _format_name(data)
    with _telling_damage(format_name):
        image = _open(data, format_name, max_pixels)
        image.load()
        pixels_rgb = _rgb(_upright(image))
    return DecodedImage(image_id=image_id, pixels_rgb=pixels_rgb)


def upright_size(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """Return width and height of the upright picture, as its first bytes tell them; its pixels may yet be damaged.

    Raises:
        ImageError: the bytes are no picture, or one that says that it is too large.
    """
    if not data:
        raise ImageError("empty file")
    format_name = _format_name(data)
    with _telling_damage(format_name):
        image = _open(data, format_name, max_pixels)
        # Of a TIFF Pillow tells the size after the turn, of all others before it.
        is_sideways = image.format != "TIFF" and _orientation(image) in SIDEWAYS
    return (image.height, image.width) if is_sideways else (image.width, image.height)


def fit_scale(height: int, width: int, *, short_side: int, long_side: int) -> float:
    """Return what brings the short side to `short_side`, or less to keep the long one within `long_side`."""
    scale = short_side / min(height, width)
    if round(max(height, width) * scale) > long_side:
        scale = long_side / max(height, width)
    return scale


def fit_sides(height: int, width: int, *, short_side: int, long_side: int) -> tuple[int, int]:
    """Return (height, width) with the short side scaled to `short_side`, or less to keep within `long_side`.

    Bottom-up-attention's rule, rounded as its Caffe code rounds (half to even); neither side falls below one pixel.
    """
    scale = fit_scale(height, width, short_side=short_side, long_side=long_side)
    return max(1, round(height * scale)), max(1, round(width * scale))


@contextmanager
def _telling_damage(format_name: str) -> Iterator[None]:
    try:
        yield
    except ImageError:
        raise
    except Exception as cause:  # on hostile bytes Pillow's decoders raise nearly anything
        damage = "truncated" if "truncated" in str(cause).lower() else "damaged"
        raise ImageError(f"{damage} {format_name}: {str(cause) or type(cause).__name__}") from cause


def _open(data: bytes, format_name: str, max_pixels: int) -> Image.Image:
    """Return the picture, of which only the first bytes are decoded."""
    # Not Image.open: that would judge the size by the global Image.MAX_IMAGE_PIXELS, partly by warnings.
    image: Image.Image = Image.OPEN[format_name][0](io.BytesIO(data), "")
    _check_size(image.width, image.height, max_pixels)
    return image


def _format_name(data: bytes) -> str:
    for name in FORMATS:
        _, accepts = Image.OPEN[name]
        if accepts is not None and accepts(data[:16]) is True:
            return name
    raise ImageError(f"not an image: begins with {data[:16]!r}")


def _check_size(width: int, height: int, max_pixels: int) -> None:
    if width < 1 or height < 1:
        raise ImageError(f"no pixels: {width} x {height}")
    if width * height > max_pixels:
        raise ImageError(
            f"too large: {width} x {height} = {width * height} pixels, expected at most {max_pixels}; "
            f"vinculum extract takes it with --max-pixels {width * height} --retry-quarantine"
        )


def _upright(image: Image.Image) -> Image.Image:
    # ImageOps.exif_transpose would also rewrite the metadata, and refuse a sound picture for its damaged EXIF.
    turn = TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def _orientation(image: Image.Image) -> Any:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except (LookupError, OSError, SyntaxError, TypeError, ValueError, struct.error):
        return 1


def _rgb(image: Image.Image) -> NDArray[np.uint8]:
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM"):
        return _grey_from_16_bits(np.asarray(image))
    if image.mode in ("I", "F"):
        raise ImageError(f"pixels of mode {image.mode!r} have no fixed white; save the image with 8 or 16 bits")
    if image.has_transparency_data:
        transparent = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), transparent)
    return np.array(image.convert("RGB"))


def _grey_from_16_bits(grey: NDArray[Any]) -> NDArray[np.uint8]:
    # Pillow's own conversion clips at 255 and so turns nearly every 16-bit picture white.
    grey_8_bits = np.rint(grey / 257).astype(np.uint8)
    return np.repeat(grey_8_bits[:, :, np.newaxis], 3, axis=2)
