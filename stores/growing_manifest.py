"""The manifest of a store whose shards are being made."""

import time
from collections.abc import Callable
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

from stores.manifest import MANIFEST_NAME, Manifest, ShardEntry, write_manifest

WRITING_SHARE = 0.01
"""Share of a run's time for writing; a manifest of 20,000 shards takes a second, each other second has a new one."""


class GrowingManifest:
    """Takes entries as shards are finished; a context manager that leaves the manifest on disk, whole.

    Between, it is written as often as takes a hundredth of the time. A killed run makes what it had finished since then
    once more, to the same bytes.
    """

    def __init__(self, folder: Path, manifest: Manifest, publish: Callable[[Path], None] = lambda path: None) -> None:
        """`publish` is called with the file each time that it was written."""
        self._folder = folder
        self._manifest = manifest
        self._publish = publish
        self._entries = {entry.name: entry for entry in manifest.shards}
        self._is_written = False
        self._due = 0.0

    @property
    def manifest(self) -> Manifest:
        """The manifest with all entries so far."""
        return replace(self._manifest, shards=tuple(sorted(self._entries.values(), key=lambda each: each.name)))

    def add(self, entry: ShardEntry) -> None:
        """The manifest has this entry, instead of one of the same name."""
        self._entries[entry.name] = entry
        self._is_written = False

    def note_finished(self, is_finished: bool) -> None:
        """The manifest notes whether the sources of a sentence store were read to their end."""
        self._manifest = self._manifest.noting_finished(is_finished)
        self._is_written = False

    def write_if_due(self) -> None:
        """Call it now and then: what is new is on disk as soon as that is worth its time."""
        if not self._is_written and time.monotonic() >= self._due:
            self.write()

    def write(self) -> None:
        """The manifest is on disk as it is now."""
        started = time.monotonic()
        write_manifest(self._folder, self.manifest)
        self._publish(self._folder / MANIFEST_NAME)
        ended = time.monotonic()
        self._is_written = True
        self._due = ended + (ended - started) / WRITING_SHARE

    def __enter__(self) -> Self:
        self.write()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if not self._is_written:
            with suppress(OSError) if kind else nullcontext():  # a full disk has been told already
                self.write()
