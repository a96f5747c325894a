"""The bytes of an image, wherever its source says that they are."""

import hashlib
import stat
from collections.abc import Iterator, Sequence
from typing import IO

from stores.image_sources import ImageSource
from stores.locations import LocationError, is_whole, local_path, opened, remote_error

NUM_SAMPLED = 64
"""Files whose bytes tell them from others of the same sizes."""


def read_source(source: ImageSource) -> bytes:
    """Return an image's bytes; raises OSError with the reason."""
    if source.member is not None and source.offset is None:
        raise OSError("the archive has no bytes under this name: it is a link to what the archive lacks, or sparse")
    path = local_path(source.url)
    if path is not None:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would keep its reader waiting for ever
            raise OSError("a folder, pipe or device, expected a file")
        with path.open("rb") as file:
            return _read(file, source)
    if not is_whole(source.url):
        raise OSError(
            "a store keeps no query or password of a URL, and this run does not list the image; list it again"
        )
    try:
        with opened(source.url) as file:
            return _read(file, source)
    except (LocationError, OSError) as error:
        raise OSError(str(error)) from error
    except Exception as error:  # every remote file system has errors of its own
        raise remote_error(error, source.url) from error


def files_sha256(sources: Sequence[ImageSource]) -> str:
    """Return a digest of the images' ids and sizes, and of the bytes of `NUM_SAMPLED` of them, evenly spread.

    Where files lie and when they were written does not matter. Images at URLs give their ids alone: asking for each
    size takes a request.
    """
    digest, every = hashlib.sha256(), max(1, -(-len(sources) // NUM_SAMPLED))
    for number, source in enumerate(sources):
        digest.update(f"{source.image_id}\t{_size(source)}\n".encode(errors="surrogatepass"))
        if number % every == 0:
            for data in _local_bytes(source):
                digest.update(hashlib.sha256(data).digest())
    return digest.hexdigest()


def _size(source: ImageSource) -> int | None:
    """Return the bytes of an image; None at a URL, and where there is none."""
    path = local_path(source.url)
    if source.size is not None or path is None:
        return source.size
    try:
        return path.stat().st_size
    except OSError:  # training goes on without it, and says so
        return None


def _local_bytes(source: ImageSource) -> Iterator[bytes]:
    if local_path(source.url) is not None:
        try:
            yield read_source(source)
        except OSError:
            yield b""


def _read(file: IO[bytes], source: ImageSource) -> bytes:
    if source.offset is None or source.size is None:
        return file.read()
    file.seek(source.offset)
    data = file.read(source.size)
    if len(data) != source.size:
        raise OSError(f"the archive ends after {len(data)} of the member's {source.size} bytes")
    return data
