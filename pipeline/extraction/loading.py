"""Reading, decoding and preparing images on threads, ahead of the model."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from itertools import islice
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from annotations.boxes import BoxError, clip_boxes
from detectors.inputs.images import MAX_PIXELS, ImageError, decode_image, upright_size
from detectors.records import DecodedImage, Detector, PreparedImage, RecordError
from pipeline.extraction.shard_task import failed
from stores.formats.region_columns import check_image_id
from stores.images.bytes import read_listed
from stores.images.sources import ImageSource
from stores.locations import local_path
from stores.manifest import FailedImage

Item = TypeVar("Item")
Result = TypeVar("Result")

# What one bad image can raise in the decoder, OpenCV or the model; anything else is the program's fault.
IMAGE_FAULTS = (ValueError, RuntimeError, MemoryError, cv2.error)


@dataclass(frozen=True, kw_only=True)
class LoadedImage:
    """One image ready for the model, or the reason why it is not."""

    source: ImageSource
    outcome: PreparedImage | FailedImage
    image_sha256: bytes | None
    """SHA-256 of the file's bytes; None where they could not be read."""
    read_seconds: float
    decode_seconds: float


class PixelBudget:
    """Bounds what is decoded at once: images of so many pixels together, or one of so many; larger ones are none."""

    def __init__(self, max_pixels: int = MAX_PIXELS) -> None:
        self.max_pixels = max_pixels
        self._free = max_pixels
        self._given_back = threading.Condition()

    @contextmanager
    def taken(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for an image, and hold it during the block."""
        with self._given_back:
            self._given_back.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            yield
        finally:
            with self._given_back:
                self._free += pixels
                self._given_back.notify_all()


def read_fault(source: ImageSource) -> FailedImage | None:
    """Return the quarantine entry of an image that cannot be read; None of one that can be."""
    try:
        read_listed(source)
    except OSError as error:
        return failed(source, "read", _why_unreadable(source, error))
    return None


def load_image(
    source: ImageSource,
    detector: Detector,
    given_boxes: Mapping[str, NDArray[np.float32]] | None,
    budget: PixelBudget,
) -> LoadedImage:
    """Return the image read, decoded and prepared; never raises for what is wrong with the image."""
    started = time.perf_counter()
    read = started
    digest: bytes | None = None
    outcome: PreparedImage | FailedImage
    try:
        check_image_id(source.image_id)
        data = read_listed(source)
        digest = sha256(data).digest()
        read = time.perf_counter()
        width, height = upright_size(data, max_pixels=budget.max_pixels)
        with budget.taken(width * height):
            image = decode_image(source.image_id, data, max_pixels=budget.max_pixels)
            outcome = detector.prepare(image if given_boxes is None else _with_boxes(image, given_boxes))
            del image  # its pixels are what the budget is for
    except RecordError as error:
        outcome = failed(source, "store", str(error))
    except _GivenBoxesError as error:
        outcome = failed(source, "store", str(error))
    except OSError as error:
        outcome = failed(source, "read", _why_unreadable(source, error))
    except ImageError as error:
        outcome = failed(source, "decode", str(error))
    except IMAGE_FAULTS as error:
        outcome = failed(source, "detect", str(error) or type(error).__name__)
    return LoadedImage(
        source=source,
        outcome=outcome,
        image_sha256=digest,
        read_seconds=read - started,
        decode_seconds=time.perf_counter() - read,
    )


def load_ahead(
    load: Callable[[Item], Result], items: Iterable[Item], threads: Executor, depth: int
) -> Iterator[Result]:
    """Yield `load(item)` in order; the first `depth` are under way when this returns, and so many stay ahead."""
    remaining = iter(items)
    pending = deque(threads.submit(load, item) for item in islice(remaining, depth))

    def results() -> Iterator[Result]:
        while pending:
            result = pending.popleft().result()
            pending.extend(threads.submit(load, item) for item in islice(remaining, 1))
            yield result

    return results()


class _GivenBoxesError(ValueError):
    """Boxes were given, but none for this image, or none that fit it."""


def _with_boxes(image: DecodedImage, given_boxes: Mapping[str, NDArray[np.float32]]) -> DecodedImage:
    if image.image_id not in given_boxes:
        raise _GivenBoxesError("the boxes file has no entry for this image")
    try:
        boxes = clip_boxes(given_boxes[image.image_id], width=image.width, height=image.height)
    except BoxError as error:
        raise _GivenBoxesError(f"of the given boxes, {error}") from error
    return replace(image, given_boxes_xyxy=boxes)


def _why_unreadable(source: ImageSource, error: OSError) -> str:
    path = local_path(source.url)
    if isinstance(error, FileNotFoundError) and path is not None and path.is_symlink():
        return f"dangling link to {str(path.readlink())!r}"
    return error.strerror or str(error)
