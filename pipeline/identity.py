"""What tells one input from another, wherever it lies."""

import hashlib
from pathlib import Path
from typing import Any

from stores.image_sources import ImageSources
from stores.manifest import Manifest, fingerprint
from stores.store_content import content_sha256

MAX_HASHED_FILES = 64
"""A folder of more files is known by their names and sizes."""


def identity_of(path: Path) -> dict[str, Any]:
    """Return `files`, `bytes` and `sha256` of a file or folder, and what the digest is `of`.

    Of a folder it is taken over every file's path in the folder, its size and, for up to 64 files, its content.
    """
    if path.is_file():
        return {"files": 1, "bytes": path.stat().st_size, "sha256": _digest(path), "of": "content"}
    files = sorted(each for each in path.rglob("*") if each.is_file())
    by_content = len(files) <= MAX_HASHED_FILES
    digest, num_bytes = hashlib.sha256(), 0
    for each in files:
        size = each.stat().st_size
        num_bytes += size
        line = f"{each.relative_to(path).as_posix()}\t{size}\t{_digest(each) if by_content else ''}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return {
        "files": len(files),
        "bytes": num_bytes,
        "sha256": digest.hexdigest(),
        "of": "contents" if by_content else "names and sizes",
    }


def identity_of_store(manifest: Manifest) -> dict[str, str]:
    """Return `fingerprint`, of the store's settings, and `sha256`, of all its shards."""
    return {"fingerprint": fingerprint(manifest.configuration), "sha256": content_sha256(manifest)}


def identity_of_files(images: ImageSources) -> dict[str, Any]:
    """Return `files`, how many there are, and `sha256`, of their ids: where they lie does not matter."""
    digest = hashlib.sha256()
    for image in images:
        digest.update(f"{image.image_id}\n".encode(errors="surrogateescape"))
    return {"files": len(images), "sha256": digest.hexdigest()}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
