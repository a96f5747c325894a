"""Checksums of the pages of an LMDB file that lead to its values: a damaged one can make LMDB end the process.

They are read before LMDB is asked for anything. Values that fill pages of their own, features above all, are not among
them; each value has a checksum of its own. After LMDB's last page stand, little-endian:

    uint32 [N, 2]   first page and number of pages of each run of such pages
    16 bytes        `vinculum-pages:` and a newline
    uint32          bytes of a page
    uint32          N
    uint64          XXH3 of the runs, the page's bytes and the pages
    80 bytes        the seal, see `stores/seal.py`
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import xxhash

from stores.errors import DamagedFileError
from stores.seal import UNSEALED

_MARK = b"vinculum-pages:\n"
_TAIL = struct.Struct("<IIQ")
_PAGE_HEADER = struct.Struct("<10xHI")  # flags, and how many pages a value fills
_FILLED_BY_A_VALUE = 0x04


def page_checksums(file: BinaryIO, page_bytes: int) -> bytes:
    """Return what is written after the last page of a file that ends with it."""
    runs = list(_runs(file, page_bytes, file.seek(0, 2) // page_bytes))
    table = b"".join(struct.pack("<II", *run) for run in runs)
    return table + _MARK + _TAIL.pack(page_bytes, len(runs), _checksum(file, page_bytes, table))


def check_pages(path: Path) -> bool:
    """Return whether the LMDB file at `path` has checksums of pages; its pages are then as they were written.

    Raises:
        DamagedFileError: they are not.
    """
    with path.open("rb") as file:
        end = file.seek(0, 2) - len(UNSEALED) - len(_MARK) - _TAIL.size
        file.seek(max(0, end))
        if end < 0 or file.read(len(_MARK)) != _MARK:
            return False
        page_bytes, num_runs, recorded = _TAIL.unpack(file.read(_TAIL.size))
        file.seek(max(0, end - 8 * num_runs))
        table = file.read(min(8 * num_runs, end))
        runs = struct.iter_unpack("<II", table)
        fits = len(table) == 8 * num_runs and all((first + number) * page_bytes <= end for first, number in runs)
        if not fits or _checksum(file, page_bytes, table) != recorded:
            raise DamagedFileError(path, found="another checksum of its pages", expected="the bytes that were written")
        return True


def _runs(file: BinaryIO, page_bytes: int, num_pages: int) -> Iterator[tuple[int, int]]:
    """Yield first page and number of the pages between those that values fill."""
    first = page = 0
    while page < num_pages:
        file.seek(page * page_bytes)
        flags, filled = _PAGE_HEADER.unpack(file.read(_PAGE_HEADER.size))
        if flags & _FILLED_BY_A_VALUE:
            if page > first:
                yield first, page - first
            first = page = page + filled
        else:
            page += 1
    if page > first:
        yield first, page - first


def _checksum(file: BinaryIO, page_bytes: int, table: bytes) -> int:
    digest = xxhash.xxh3_64(table + struct.pack("<I", page_bytes))
    for first, number in struct.iter_unpack("<II", table):
        file.seek(first * page_bytes)
        digest.update(file.read(number * page_bytes))
    return digest.intdigest()
