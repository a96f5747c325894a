"""SHA-256 of files, kept between runs in the user's cache folder, so that annotations of 60,000 files are read once.

$XDG_CACHE_HOME/vinculum/digests, or ~/.cache there, has one JSON file for each folder or file that was asked about. It
only saves time: one that is missing, damaged or cannot be written means that files are read again.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

from annotations.guards.plain_json import parse_json
from stores.atomic import replacing

SETTLED_SECONDS = 2
"""What changed less than this before it was read is not kept: it may change again within a tick of the disk's clock."""

_Known = dict[str, list[Any]]
"""By name: size, times of the last change of content and of status in nanoseconds, inode, SHA-256."""


class Digests:
    """The digests of the files of one place."""

    def __init__(self, known: _Known) -> None:
        self._known = known
        self.current: _Known = {}
        """Those that were asked for and may be kept."""

    def of(self, path: str, status: os.stat_result, name: str) -> str:
        """Return the SHA-256 of the file at `path`; it is read if its `status` is another than when it was last."""
        state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino]
        known = self._known.get(name)
        if known is not None and known[:-1] == state:
            self.current[name] = known
            return str(known[-1])
        settled = time.time_ns() - SETTLED_SECONDS * 1_000_000_000
        with FileIO(path) as file:  # of 60,000 small files: Path takes twice as long
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if max(status.st_mtime_ns, status.st_ctime_ns) < settled:
            self.current[name] = [*state, digest]
        return digest


@contextmanager
def digests_of(place: Path) -> Iterator[Digests]:
    """Yield the digests of files at `place`; what was asked for is kept for the next run."""
    file = _file_of(place)
    known = _read(file)
    digests = Digests(known)
    yield digests
    if file is not None and digests.current != known:
        with suppress(OSError):  # a read-only or full home costs time, and no run
            file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(file) as temporary:
                temporary.write_text(json.dumps(digests.current))


def _file_of(place: Path) -> Path | None:
    try:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home
        return None
    name = hashlib.sha256(os.fsencode(place.resolve())).hexdigest()[:32]
    return cache / "vinculum" / "digests" / f"{name}.json"


def _read(file: Path | None) -> _Known:
    try:
        content = parse_json(file.read_bytes()) if file is not None else {}
    except (OSError, ValueError):
        return {}
    is_whole = isinstance(content, dict) and all(
        isinstance(each, list) and len(each) == 5 and isinstance(each[-1], str) for each in content.values()
    )
    return content if is_whole else {}
