"""What a store says when it cannot be trusted or must not be touched."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ADVICE = {
    errno.ENOSPC: "free space there, and run the same command again to go on",
    errno.EDQUOT: "free space in your quota, and run the same command again to go on",
    errno.EROFS: "expected a place that can be written; choose another, or mount it for writing",
    errno.EACCES: "expected the right to use it; change its permissions, or choose another place",
    errno.EPERM: "expected the right to use it; change its permissions, or choose another place",
    errno.ENOENT: "expected it to be there; check the path, and make the folder that it is to lie in",
    errno.EEXIST: "expected a folder, or nothing yet; choose another name, or move what lies there away",
    errno.ENOTDIR: "expected a folder; choose another path, or move the file in its place away",
    errno.EISDIR: "expected a file; choose another path",
    errno.ENAMETOOLONG: "expected a shorter name; choose another path",
    errno.EMFILE: "raise the limit of open files with ulimit -n",
    errno.EIO: "the disk or the network may be failing; check it, and run the same command again to go on",
    errno.ESTALE: "the file server has lost it; mount it again, and run the same command again to go on",
}
"""What to do about an error of the operating system, which says what was found and no more."""


class StoreError(Exception):
    """A store, not the program, is at fault; the message says what was found, what was expected and what to do."""


class DamagedFileError(StoreError):
    """A file of a store is missing or is not what its writer wrote."""

    def __init__(self, path: Path, *, found: str, expected: str, advice: str = "run vinculum repair") -> None:
        super().__init__(f"{path}: {found}, expected {expected}; {advice}")
        self.path = path
        self.found = found
        self.expected = expected


@contextmanager
def about(path: Path) -> Iterator[None]:
    """An error of the operating system that the body ends in names a file: this one, where it names none itself."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.filename is not None:
            raise
        raise OSError(error.errno, os.strerror(error.errno), str(path)) from error


def told(error: BaseException) -> str:
    """Return an error's message; one of the operating system with what it is about, and what to do."""
    if not isinstance(error, OSError) or error.errno is None or error.strerror is None:
        return str(error) or type(error).__name__
    subjects = " and ".join(str(each) for each in (error.filename, error.filename2) if each is not None)
    advice = ADVICE.get(error.errno, "run the same command again, or look at what is there")
    return f"{subjects}: {error.strerror}; {advice}" if subjects else f"{error.strerror}; {advice}"
