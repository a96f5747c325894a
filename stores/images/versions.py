"""Which version of a file an image is: its size and when it was written, as far as looking at it costs next to nothing.

A version is one number that differs when the file was written anew: of a file its time of modification in nanoseconds,
of an object 63 bits of a digest of what its store says of it (an etag, a generation, a date). Versions are compared for
being equal only. An image in an archive has the version of the archive.
"""

import hashlib
import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stores.images.sources import ImageSources
from stores.locations import local_path

TOLD = (
    *("etag", "e_tag", "content-md5", "md5hash", "blob_id"),
    *("generation", "version_id", "last-modified", "lastmodified"),
)
"""What object stores say of an object's version, by falling precision; in letters of any case."""

THREADS = 16
"""That look at files where each look takes long, as on a network's file system."""

_SLOW_SECONDS = 100e-6
"""A look at a file that takes longer goes over a network; others take less than threads lose by waiting in turn."""
_AT_ONCE = 1 << 12
_TOLD_BY_LOOKING = ("size", "version")

Version = tuple[int | None, int | None]
"""Bytes and version; None where there is no file, or nothing is said."""


def version_of_object(info: Mapping[str, Any]) -> int | None:
    """Return the version that a file system's description of an object gives; None where it says nothing."""
    said = {key.lower(): value for key, value in info.items() if value}
    told = next((f"{key}={said[key]}" for key in TOLD if key in said), None)
    return None if told is None else int.from_bytes(hashlib.sha256(told.encode()).digest()[:8]) >> 1


def version_of_path(path: str | Path) -> Version:
    """Return bytes and version of a file on this machine."""
    try:
        status = os.stat(path)  # noqa: PTH116  a Path for each of ten million files takes longer than looking at it
    except (OSError, ValueError):  # ValueError: the path holds NUL
        return None, None
    return status.st_size, status.st_mtime_ns


def with_versions(images: ImageSources) -> ImageSources:
    """Return the images with bytes and versions of those that are whole files on this machine."""
    batches = images.table.to_batches(max_chunksize=_AT_ONCE)
    found = []
    for number, batch in enumerate(batches):
        started = time.perf_counter()
        found.append(_looked_at(batch))
        if time.perf_counter() - started > _SLOW_SECONDS * len(batch):
            with ThreadPoolExecutor(THREADS) as threads:
                found.extend(threads.map(_looked_at, batches[number + 1 :]))
            break
    table = images.table
    for place, name in enumerate(_TOLD_BY_LOOKING):
        column = pa.concat_arrays([pa.array([], pa.int64()), *(each[place] for each in found)])
        table = table.set_column(table.schema.get_field_index(name), name, column)
    return ImageSources(table)


def _looked_at(batch: pa.RecordBatch) -> tuple[pa.Array, ...]:
    urls = [url.decode(errors="surrogatepass") for url in batch["url"].to_pylist()]
    is_whole = batch["member"].null_count == len(batch)
    if is_whole and not pc.any(pc.match_substring(batch["url"], "://")).as_py():
        versions = [version_of_path(url) for url in urls]
    else:
        known = zip(urls, *(batch[name].to_pylist() for name in ("member", *_TOLD_BY_LOOKING)), strict=True)
        versions = [_version(*each) for each in known]
    return tuple(pa.array([each[place] for each in versions], pa.int64()) for place, _ in enumerate(_TOLD_BY_LOOKING))


def _version(url: str, member: str | None, size: int | None, version: int | None) -> Version:
    path = local_path(url) if member is None else None
    return (size, version) if path is None else version_of_path(path)
