"""Where a store is made: a folder that all nodes see, or a prefix of an object store, which holds whole objects only.

Either way files are written in a folder of the machine at hand. In a folder of the store's own they are in their place
by that; to an object store they are sent when they are whole, and appear there at once or not at all.
"""

import tempfile
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

from stores.fresh_store import owned_store
from stores.locations import OBJECT_STORES, LocationError, filesystem_of, local_path, shown, without_secrets
from stores.plan import SHARD_PREFIX

ATTEMPTS = 5
"""To send or fetch one object, beside those that the client library makes by itself."""

FIRST_PAUSE_SECONDS = 0.5
"""Before the second attempt; then twice as long each time."""


class Place(Protocol):
    """Where a store is made."""

    def owned(self, names: Iterable[str]) -> Any:
        """Return a context manager of a folder that has the files of these names, as far as the store does."""
        ...

    def looked_at(self, names: Iterable[str]) -> Any:
        """Return a context manager of a folder to read these files from, as far as the store has them.

        The store stays as it is, and another run may own it; where there is no store there may be no folder.
        """
        ...

    def workspace(self) -> Any:
        """Return a context manager of a folder to write files in before they are published."""
        ...

    def publish(self, path: Path) -> None:
        """The store has this file, whole."""
        ...

    def fetch(self, path: Path) -> None:
        """The workspace has the store's file of that name at `path`."""
        ...

    def sizes(self) -> Mapping[str, int]:
        """Return the bytes of every file in the store, by name."""
        ...


def place_of(out: str | Path) -> Place:
    """Return the place that a user names: a path, or a URL of an object store, such as s3://bucket/regions.

    Raises:
        LocationError: no store can be written there.
    """
    folder = local_path(str(out))
    if folder is not None:
        return FolderPlace(folder)
    protocol = str(out).partition("://")[0].lower()
    if protocol not in OBJECT_STORES:
        raise LocationError(
            f"{shown(str(out))!r}: no store can be written there, expected a folder or a URL of "
            f"{', '.join(OBJECT_STORES)}; write it to a folder, and copy that"
        )
    return ObjectPlace(str(out))


class FolderPlace:
    """A folder that all nodes see; one run at a time owns it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    @contextmanager
    def owned(self, names: Iterable[str]) -> Iterator[Path]:
        with owned_store(self._folder):
            yield self._folder

    @contextmanager
    def looked_at(self, names: Iterable[str]) -> Iterator[Path]:
        yield self._folder

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        yield self._folder

    def publish(self, path: Path) -> None:
        """It is there."""

    def fetch(self, path: Path) -> None:
        """It is there."""

    def sizes(self) -> Mapping[str, int]:
        """Return the bytes of every file in the folder, by name; none where there is no folder."""
        if not self._folder.exists():
            return {}
        return {path.name: path.stat().st_size for path in self._folder.iterdir() if path.is_file()}


class ObjectPlace:
    """A prefix of an object store. Nothing locks it: two runs at once do the same work twice, to the same bytes."""

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")

    @contextmanager
    def looked_at(self, names: Iterable[str]) -> Iterator[Path]:
        with self.workspace() as folder:
            self._fetch_all(folder, names)
            yield folder

    @contextmanager
    def owned(self, names: Iterable[str]) -> Iterator[Path]:
        with self.workspace() as folder:
            present = self._fetch_all(folder, names)
            try:
                yield folder
            except BaseException:
                self._undo(present)
                raise

    def _fetch_all(self, folder: Path, names: Iterable[str]) -> Mapping[str, int]:
        """The folder has these files, as far as the store does; returns the bytes of every file in the store."""
        present = self.sizes()
        for name in names:
            if name in present:
                self.fetch(folder / name)
        return present

    def _undo(self, before: Collection[str]) -> None:
        """Where no shard was made, the store has no file more than before."""
        with suppress(Exception):  # what ended the run is what people are told
            found = self.sizes()
            if not any(name.startswith(SHARD_PREFIX) for name in found):
                filesystem, root = self._open()
                for name in set(found) - set(before):
                    filesystem.rm_file(f"{root}/{name}")

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="vinculum-") as folder:
            yield Path(folder)

    def publish(self, path: Path) -> None:
        filesystem, root = self._open()
        _persistently(lambda: filesystem.put_file(str(path), f"{root}/{path.name}"), f"{self._url}/{path.name}")

    def fetch(self, path: Path) -> None:
        filesystem, root = self._open()
        _persistently(lambda: filesystem.get_file(f"{root}/{path.name}", str(path)), f"{self._url}/{path.name}")

    def sizes(self) -> Mapping[str, int]:
        filesystem, root = self._open()
        filesystem.invalidate_cache(root)
        listed = _persistently(lambda: filesystem.find(root, detail=True, maxdepth=1), self._url)
        return {path.rpartition("/")[2]: int(told["size"]) for path, told in listed.items()}

    def _open(self) -> tuple[Any, str]:
        filesystem, root = filesystem_of(self._url)
        return filesystem, root.rstrip("/")


def _persistently(call: Any, subject: str) -> Any:
    """Return what the call returns, having tried again where the network or the store failed it.

    Raises:
        OSError: it failed every time, or was refused; with the subject's name.
    """
    pause = FIRST_PAUSE_SECONDS
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return call()
        except (FileNotFoundError, PermissionError) as error:
            raise OSError(without_secrets(f"{subject}: {error}")) from error
        except Exception as error:  # every remote file system has errors of its own
            if attempt == ATTEMPTS:
                told = f"{subject}: {ATTEMPTS} attempts failed, the last with {type(error).__name__}: {error}"
                raise OSError(without_secrets(told)) from error
            time.sleep(pause)
            pause *= 2
    raise AssertionError  # the last attempt has returned or raised
