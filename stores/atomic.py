"""Files that are either whole or not there: written aside, synced, renamed."""

import errno
import fcntl
import json
import os
import re
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stores.errors import StoreError, about

_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{16}\.tmp", re.DOTALL)

# What flock answers where a directory cannot be locked at all: NFS wants a descriptor open for writing, which
# directories do not have, and some parallel file systems are mounted without locks.
_CANNOT_LOCK = {errno.EBADF, errno.EINVAL, errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """`path` holds, whole and on disk, what the body wrote to the yielded path; or it is as it was.

    The yielded file exists and is empty. On any exception it is removed.

    Raises:
        OSError: the disk is full, the directory is read-only ...; always with the file's name.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:  # nobody asked for a file of this name
        raise OSError(error.errno, os.strerror(error.errno or 0), str(path)) from error
    try:
        with about(path):
            yield temporary
            sync(temporary)
            temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_json(path: Path, content: Any) -> None:
    """`path` holds `content` as JSON; equal content gives equal bytes."""
    with replacing(path) as temporary:
        temporary.write_bytes(json_bytes(content))


def json_bytes(content: Any) -> bytes:
    """Return what `write_json` writes."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, sort_keys=True, indent=1)
    # A file name that is not UTF-8 holds surrogates, which backslashreplace writes as JSON does: \udc80.
    return f"{text}\n".encode(errors="backslashreplace")


def leftovers(folder: Path) -> list[Path]:
    """Return the temporary files in `folder`, sorted; without a running writer, all are a killed writer's."""
    return sorted(path for path in folder.iterdir() if _TEMPORARY.fullmatch(path.name))


def remove_leftovers(folder: Path) -> list[Path]:
    """`folder` holds no file of a killed writer any more; returns what was removed. Hold the folder's lock."""
    found = leftovers(folder)
    for path in found:
        path.unlink(missing_ok=True)
    return found


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """This run owns `folder` until the body ends or the process dies, whichever is first.

    The lock is on the directory itself, so no lock file is left behind or can be stale.

    Raises:
        StoreError: another run owns it.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor, folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise StoreError(
            f"{folder}: another run owns this store, expected it free; wait for that run to end, or stop it"
        ) from error
    except OSError as error:
        if error.errno not in _CANNOT_LOCK:
            raise
        warnings.warn(
            f"{folder}: this file system cannot lock a directory ({error.strerror}); "
            "make sure that no other run writes to this store",
            stacklevel=4,
        )


def sync(path: Path) -> None:
    """What was written to the file, or which files the folder has, is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
