"""A shard's own SHA-256, inside the shard: one file proves that no byte of it changed, without any manifest.

A writer leaves `UNSEALED` once near the end of the file, and `seal` turns its zeros into the digest of the file as it
stood. To check by hand: turn the 64 digits that follow the last `vinculum-sha256:` back into zeros; the SHA-256 of that
file is those digits. Reading a damaged LMDB file can kill the process, so this is asked before any parser.
"""

import hashlib
from pathlib import Path
from typing import BinaryIO

from stores.errors import DamagedFileError, StoreError

_MARK = b"vinculum-sha256:"
_ZEROS = b"0" * 64
UNSEALED = _MARK + _ZEROS

_TAIL_BYTES = 1 << 22  # an Arrow footer repeats the configuration, vocabularies included: some 100 kB
_BLOCK_BYTES = 1 << 20

_found_intact: set[tuple[int, int, int, int]] = set()


def seal(path: Path) -> None:
    """The file at `path` carries its own SHA-256.

    Raises:
        StoreError: its writer left no place for it.
    """
    with path.open("r+b") as file:
        start = _digits_start(file)
        if start is None:
            raise StoreError(f"{path}: no {_MARK.decode()!r} in the last {_TAIL_BYTES} bytes, expected one to seal")
        digest = _digest(file, start)
        file.seek(start)
        file.write(digest)


def is_intact(path: Path) -> bool:
    """Return whether the file at `path` is, byte by byte, what its writer sealed."""
    with path.open("rb") as file:
        start = _digits_start(file)
        if start is None:
            return False
        file.seek(start)
        return file.read(len(_ZEROS)) == _digest(file, start)


def read_seal(path: Path) -> str:
    """Return the 64 digits that the file at `path` carries, unchecked; empty where it carries none."""
    with path.open("rb") as file:
        start = _digits_start(file)
        if start is None:
            return ""
        file.seek(start)
        return file.read(len(_ZEROS)).decode(errors="replace")


def seal_in(marked: bytes) -> str:
    """Return the digits in `marked`, what became of `UNSEALED` in a sealed file."""
    return marked.removeprefix(_MARK).decode(errors="replace")


def require_intact(path: Path) -> None:
    """The file at `path` is what its writer sealed; read once in a process, unless its size or time change.

    Raises:
        DamagedFileError: it is not.
    """
    status = path.stat()
    version = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    if version in _found_intact:
        return
    if not is_intact(path):
        found = "bytes changed after it was written" if read_seal(path) else "unreadable (it has no seal)"
        raise DamagedFileError(path, found=found, expected="the bytes that a writer of this program sealed")
    _found_intact.add(version)


def _digits_start(file: BinaryIO) -> int | None:
    tail_start = max(0, file.seek(0, 2) - _TAIL_BYTES)
    file.seek(tail_start)
    found = file.read().rfind(_MARK)
    return None if found < 0 else tail_start + found + len(_MARK)


def _digest(file: BinaryIO, digits_start: int) -> bytes:
    digest = hashlib.sha256()
    file.seek(0)
    remaining = digits_start
    while remaining and (block := file.read(min(remaining, _BLOCK_BYTES))):
        digest.update(block)
        remaining -= len(block)
    digest.update(_ZEROS)
    file.seek(digits_start + len(_ZEROS))
    while block := file.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest().encode()
