"""What tells one input from another, wherever it lies."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.inputs.digest_cache import Digests, digests_of
from stores.images.bytes import files_sha256
from stores.images.sources import ImageSources
from stores.manifest import Manifest, fingerprint
from stores.store_content import content_sha256

PICTURES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp")
"""Files that no reader of annotations opens: in a folder of many files they are known by their names and sizes."""

MANY_FILES = 64

BY_NAMES = "names and sizes"
"""What versions before knew a folder of many files by; an edit of equal size is not seen there."""


def identity_of(path: Path, *, beside: Sequence[str] = ()) -> dict[str, Any]:
    """Return `files`, `bytes` and `sha256` of a file or folder, and what the digest is `of`.

    Of a folder it is taken over every file's path in the folder, its size and its content. Digests are kept from run
    to run, see `digest_cache`.

    Args:
        beside: patterns, from the folder of a file, of what else is read with it; what they find is in `beside`.
    """
    with digests_of(path) as digests:
        if not path.is_file():
            files = list(_files_below(path))
            whole = len(files) <= MANY_FILES
            return _identity(files, digests, but=() if whole else PICTURES) | {"of": "contents"}
        found = {
            "files": 1,
            "bytes": path.stat().st_size,
            "sha256": digests.of(str(path), path.stat(), ""),
            "of": "content",
        }
        others = {each for pattern in beside for each in path.parent.glob(pattern) if each.is_file() and each != path}
        if others:
            names = ((each.relative_to(path.parent).as_posix(), each) for each in others)
            found["beside"] = _identity(
                sorted((_File(name, str(each), each.stat()) for name, each in names), key=_key), digests
            )
        return found


def as_recorded(found: dict[str, Any], recorded: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return the identity as the version found it that wrote `recorded`, so that its stores can be continued.

    It knew folders of many files by names and sizes, and did not look at what lies beside a file.

    Args:
        recorded: of the same input in a manifest; empty where there is none.
    """
    if not recorded:
        return found
    if recorded.get("of") == BY_NAMES and path.is_dir():
        kept = {name: value for name, value in found.items() if name not in ("files", "bytes", "sha256", "of")}
        return kept | _identity(list(_files_below(path)), None) | {"of": BY_NAMES}
    return found if "beside" in recorded else {name: value for name, value in found.items() if name != "beside"}


class _File(NamedTuple):
    name: str
    """From the folder, with slashes."""
    path: str
    status: os.stat_result


def _key(file: _File) -> tuple[str, ...]:
    return tuple(file.name.split("/"))  # as paths are sorted


def _files_below(folder: Path) -> Iterator[_File]:
    """Yield every file below the folder, sorted; folders that are links are not entered."""
    found = []
    waiting = [(str(folder), "")]
    while waiting:
        place, prefix = waiting.pop()
        with suppress(PermissionError), os.scandir(place) as entries:  # such as lost+found
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, f"{prefix}{entry.name}/"))
                elif entry.is_file():
                    found.append(_File(f"{prefix}{entry.name}", entry.path, entry.stat()))
    yield from sorted(found, key=_key)


def _identity(files: Sequence[_File], digests: Digests | None, but: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return number, bytes and SHA-256 of the files; contents count but for suffixes in `but`, and with `digests`."""
    digest = hashlib.sha256()
    for each in files:
        is_read = digests is not None and not each.name.lower().endswith(but)
        content = digests.of(each.path, each.status, each.name) if digests is not None and is_read else ""
        digest.update(f"{each.name}\t{each.status.st_size}\t{content}\n".encode(errors="surrogateescape"))
    return {
        "files": len(files),
        "bytes": sum(each.status.st_size for each in files),
        "sha256": digest.hexdigest(),
    }


def identity_of_store(manifest: Manifest) -> dict[str, str]:
    """Return `fingerprint`, of the store's settings, and `sha256`, of all its shards."""
    return {"fingerprint": fingerprint(manifest.configuration), "sha256": content_sha256(manifest)}


def identity_of_files(images: ImageSources) -> dict[str, Any]:
    """Return `files`, how many there are, `sha256`, of their ids, and `content`; where they lie does not matter."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(f"{image.image_id}\n".encode(errors="surrogateescape"))
    return {"files": len(images), "sha256": digest.hexdigest(), "content": files_sha256(images)}
