"""The bytes of an image, wherever its source says that they are."""

import stat
from pathlib import Path
from typing import IO

import fsspec

from stores.image_sources import ImageSource


def read_source(source: ImageSource) -> bytes:
    """Return an image's bytes; raises OSError with the reason."""
    if "://" not in source.url:
        if not stat.S_ISREG(Path(source.url).stat().st_mode):  # a pipe would keep its reader waiting for ever
            raise OSError("a folder, pipe or device, expected a file")
        with Path(source.url).open("rb") as file:
            return _read(file, source)
    try:
        with fsspec.open(source.url, "rb") as file:
            return _read(file, source)
    except Exception as error:  # every remote file system has errors of its own
        cause = error.__cause__ or error
        raise OSError(f"{type(cause).__name__}: {cause}") from error


def _read(file: IO[bytes], source: ImageSource) -> bytes:
    if source.offset is None or source.size is None:
        return file.read()
    file.seek(source.offset)
    data = file.read(source.size)
    if len(data) != source.size:
        raise OSError(f"the archive ends after {len(data)} of the member's {source.size} bytes")
    return data
