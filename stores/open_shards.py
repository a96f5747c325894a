"""The shards of a store that are open now: as many as the process may, and no more of them in memory than needed."""

import resource
from collections import OrderedDict
from pathlib import Path

from stores.catalog import ShardReader, find_store
from stores.errors import DamagedFileError
from stores.manifest import Manifest, ShardEntry

_RELEASE_AFTER_BYTES = 128 << 20
# Linux may map all of the page cache's folio, up to 2 MB, for a record that touches one byte of it; and one more where
# the record ends. Without this, random reading holds ten times of what it asked for.
_MAPPED_AROUND_BYTES = 4 << 20


class OpenShards:
    """Opens shards by their number in the manifest, and closes the one that was not used for longest.

    May be carried over a fork. Each thread should have its own.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder
        self._manifest = manifest
        self._open: OrderedDict[int, ShardReader] = OrderedDict()
        self._mapped_bytes = 0
        self._mapped: set[int] = set()  # not all that are open: a call to the system for each takes its time

    def get(self, number: int) -> ShardReader:
        """Return the reader of one shard.

        Raises:
            DamagedFileError: it is missing, not whole, or not the one that the manifest names.
        """
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        if len(self._open) >= _max_open_shards():
            self._open.popitem(last=False)[1].close()
        reader = open_entry(self._folder, self._manifest, self._manifest.shards[number])
        self._open[number] = reader
        return reader

    def count_read(self, number: int, num_bytes: int) -> None:
        """So many bytes of a shard are being read; now and then, what was read before leaves this process's memory.

        Records that are looked at one by one, as they are read, are never many in memory.
        """
        if self._mapped_bytes >= _RELEASE_AFTER_BYTES:
            for mapped in self._mapped & self._open.keys():
                self._open[mapped].release_memory()
            self._mapped_bytes = 0
            self._mapped.clear()
        self._mapped_bytes += num_bytes + _MAPPED_AROUND_BYTES
        self._mapped.add(number)

    def close(self) -> None:
        """No shard is open any more."""
        while self._open:
            self._open.popitem()[1].close()


def open_entry(folder: Path, manifest: Manifest, entry: ShardEntry) -> ShardReader:
    """Return the reader of one shard, which is the one that the manifest names.

    Raises:
        DamagedFileError: it is missing, not whole, or another: of other rows, made otherwise or under another seal.
    """
    path = folder / entry.name
    reader = find_store(manifest, folder).open_shard(path)
    made = reader.description
    for found, expected in (
        (f"a shard of {made.content}", f"a shard of {manifest.content}"),
        (f"fingerprint {made.fingerprint}", f"fingerprint {manifest.fingerprint}"),
        (f"{len(reader)} rows", f"{entry.rows} rows"),
        (f"seal {reader.seal}", f"seal {entry.seal or reader.seal}"),
    ):
        if found != expected:
            raise DamagedFileError(path, found=found, expected=f"{expected} as in the manifest")
    return reader


def _max_open_shards() -> int:
    # Each takes a file descriptor and some 0.1 MB; to open one again takes as long as ten reads.
    soft_limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(128, min(soft_limit // 3, 4096))
