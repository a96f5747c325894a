"""The bytes of an image, wherever its source says that they are."""

import errno
import hashlib
import stat
import time
from collections.abc import Iterator, Sequence
from typing import IO

from stores.images.sources import ImageSource
from stores.images.versions import version_of_path
from stores.locations import LocationError, local_path, opened, remote_error

NUM_SAMPLED = 64
"""Files whose bytes tell them from others of the same sizes."""


OTHER_FILE = (
    "the file has another size or time of writing than when images were listed; expected the same file on every "
    "node: share the folder, or copy it with its times (rsync -t), and run again"
)
"""Said alike of every image, so that a run ends where all are so."""

PAUSES_SECONDS = (0.5, 1.0, 2.0)
"""Before a read that failed is tried again."""

PASSING = frozenset(
    {
        errno.EAGAIN,
        errno.EBUSY,
        errno.EINTR,
        errno.EIO,  # what a network disk says while its server is away
        errno.EMFILE,
        errno.ENFILE,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENOTCONN,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
"""What a disk may say that it does not say a second later."""

PASSING_STATUSES = frozenset({408, 425, 429})
"""Statuses of http that may pass, beside all from 500 on."""

FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, TimeoutError, ValueError, ImportError)
"""What a server or its client says again if asked again; a request that timed out was patient already."""


def read_source(source: ImageSource) -> bytes:
    """Return an image's bytes, having tried again what may pass; see `may_pass`.

    Raises:
        OSError: they cannot be read; with the reason.
    """
    for pause in PAUSES_SECONDS:
        try:
            return _read_once(source)
        except OSError as error:
            if not may_pass(error):
                raise
        time.sleep(pause)
    return _read_once(source)


def read_listed(source: ImageSource) -> bytes:
    """Return an image's bytes if its file, or its archive, has the size and time that it was listed with.

    Raises:
        OSError: they cannot be read, or the file was written since, or this machine has another one at the path.
    """
    if (path := local_path(source.url)) is not None:
        size, version = version_of_path(path)
        is_as_large = source.member is not None or source.size in (None, size)
        if version is not None and (source.version not in (None, version) or not is_as_large):
            raise OSError(OTHER_FILE)
    return read_source(source)


def may_pass(error: OSError) -> bool:
    """Return whether a read that failed so may succeed a moment later.

    A server that is overloaded or away may, and a network disk; a file that is not there or not permitted may not.
    """
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    if cause is error:
        return error.errno in PASSING
    status = getattr(cause, "status", None)
    if isinstance(status, int):
        return status >= 500 or status in PASSING_STATUSES
    return not isinstance(cause, FINAL)


def _read_once(source: ImageSource) -> bytes:
    if source.member is not None and source.offset is None:
        raise OSError("the archive has no bytes under this name: it is a link to what the archive lacks, or sparse")
    path = local_path(source.url)
    if path is not None:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would keep its reader waiting for ever
            raise OSError("a folder, pipe or device, expected a file")
        with path.open("rb") as file:
            return _read(file, source)
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
