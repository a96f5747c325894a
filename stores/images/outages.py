"""An outage told from images that are not there: what could be read before cannot be read any more."""

from collections.abc import Sequence

from stores.errors import StoreError
from stores.images.bytes import read_source
from stores.images.sources import ImageSource

MANY = 16
"""Images in a row that cannot be read before it is asked whether any can."""


class OutageError(StoreError):
    """The images' disk or server is away; nothing is wrong with the images."""


class OutageWatch:
    """Is told of every image that was read or could not be, in order."""

    def __init__(self) -> None:
        self._readable: ImageSource | None = None
        """The last that was read."""
        self._num_unread = 0
        """In a row."""

    def read(self, source: ImageSource) -> None:
        """The image's bytes were read."""
        self._readable = source
        self._num_unread = 0

    def not_read(self, source: ImageSource, reason: str, neighbours: Sequence[ImageSource]) -> None:
        """The image's bytes could not be read.

        Args:
            neighbours: other images, of which some are tried where none was read so far.

        Raises:
            OutageError: so were `MANY` in a row, and what was read before, or any of the neighbours, cannot be read.
        """
        self._num_unread += 1
        if self._num_unread < MANY:
            return
        self._num_unread = 0
        tried = [self._readable] if self._readable else list(neighbours[:: max(1, len(neighbours) // MANY)])
        if any(map(_is_readable, tried)):
            return
        before = f"{self._readable.location}, which was read before, cannot be read now" if self._readable else ""
        raise OutageError(
            f"{MANY} images in a row could not be read, the last is {source.location}: {reason}; "
            f"{before or 'no other that was tried can be'}. Expected images where they were listed: bring their disk "
            "or server back and run again to go on"
        )


def _is_readable(source: ImageSource) -> bool:
    try:
        read_source(source)
    except OSError:
        return False
    return True
