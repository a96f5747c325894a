"""The shards of a store that are open now: as many as the process may, and no more of them in memory than needed."""

import resource
from collections import OrderedDict
from pathlib import Path

from stores.catalog import STORES, ShardReader
from stores.errors import DamagedFileError
from stores.manifest import Manifest

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
            DamagedFileError: it is missing, not whole, or has other rows than the manifest says.
        """
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        if len(self._open) >= _max_open_shards():
            self._open.popitem(last=False)[1].close()
        entry = self._manifest.shards[number]
        reader = STORES[self._manifest.store].open_shard(self._folder / entry.name)
        if len(reader) != entry.rows:
            raise DamagedFileError(
                self._folder / entry.name, found=f"{len(reader)} rows", expected=f"{entry.rows} rows"
            )
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


def _max_open_shards() -> int:
    # Each takes a file descriptor and some 0.1 MB; to open one again takes as long as ten reads.
    soft_limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(128, min(soft_limit // 3, 4096))
