"""A store that a run begins, and that is gone again where the run ends before it has made a shard."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stores.atomic import locked, remove_leftovers
from stores.plan import SHARD_PREFIX


@contextmanager
def owned_store(folder: Path) -> Iterator[None]:
    """This run owns the folder, which exists. Where the body fails and no shard is there, the folder is as it was.

    Raises:
        StoreError: another run owns it.
    """
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        remove_leftovers(folder)
        before = {path.name for path in folder.iterdir()}
        try:
            yield
        except BaseException:
            _undo(folder, before, is_new=is_new)
            raise
        remove_leftovers(folder)  # of a worker that outlived the run it belonged to


def _undo(folder: Path, before: set[str], *, is_new: bool) -> None:
    if any(path.name.startswith(SHARD_PREFIX) for path in folder.iterdir()):
        return
    with suppress(OSError):  # what ended the run is what people are told
        for path in folder.iterdir():
            if path.name not in before:
                path.unlink()
        if is_new:
            folder.rmdir()
