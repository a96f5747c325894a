"""What a tar file holds, and where: its members as an extracting tar would leave them."""

import posixpath
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

MAX_LINKS = 40
"""A link that leads on to so many others leads nowhere; Linux follows as many."""


class ArchiveError(ValueError):
    """The archive is not a whole, plain tar file."""


@dataclass(frozen=True, slots=True)
class Member:
    """What an archive has under one name."""

    name: str
    offset: int | None = None
    """Where its bytes begin; None: it has none, as a link to what the archive lacks."""
    size: int | None = None
    what_else: str = ""
    """What it is if neither a file nor a link."""


class Members:
    """The members of an archive, each name once."""

    def __init__(self, members: dict[str, tuple[str, tarfile.TarInfo | None]], num_replaced: int) -> None:
        self._members = members
        """By its normal name: the name as the archive writes it, and what holds or points to the bytes."""
        self.num_replaced = num_replaced
        """Files and links that a later one of their name replaces."""

    def __iter__(self) -> Iterator[Member]:
        for name, member in self._members.values():
            data = self._followed(member)
            if data is None or data.issparse():
                yield Member(name)
            elif not data.isfile():
                yield Member(name, what_else="neither files nor links")
            else:
                yield Member(name, data.offset_data, data.size)

    def _followed(self, member: tarfile.TarInfo | None) -> tarfile.TarInfo | None:
        """Return what the symbolic links that begin with the member lead to; None where that is nothing."""
        for _ in range(MAX_LINKS):
            if member is None or not member.issym():
                return member
            target = posixpath.join(posixpath.dirname(member.name), member.linkname)
            _, member = self._members.get(posixpath.normpath(target), ("", None))
        return None


def read_members(file: IO[bytes]) -> Members:
    """Return the members of a plain tar file; of two of one name the later, as tar does when it extracts.

    Raises:
        ArchiveError: it is compressed, cut short or damaged.
    """
    members: dict[str, tuple[str, tarfile.TarInfo | None]] = {}
    num_replaced = 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as archive:
            for member in archive:
                if member.size < 0:
                    raise tarfile.ReadError(f"{member.name!r} has {member.size} bytes")
                if not member.isdir():
                    name = posixpath.normpath(member.name)
                    data: tarfile.TarInfo | None = member
                    if member.islnk():  # to what has that name so far, whatever replaces it later
                        _, data = members.get(posixpath.normpath(member.linkname), ("", None))
                    num_replaced += members.pop(name, None) is not None
                    members[name] = (member.name, data)
            file.seek(archive.offset)
            if any(file.read(tarfile.BLOCKSIZE)):  # tarfile takes a header it cannot read for the end
                raise tarfile.ReadError(f"damaged at byte {archive.offset}")
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:  # of headers, and headers of headers
        raise ArchiveError(
            f"not a whole, plain tar file ({error}); decompress it, or make it anew, and list that"
        ) from error
    return Members(members, num_replaced)
