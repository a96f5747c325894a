"""What a store holds, known by the digests of its shards: the same store, one that grew, or another one."""

import hashlib

from stores.manifest import Manifest


def content_sha256(manifest: Manifest) -> str:
    """Return the SHA-256 of the digests of all shards, in the order of their names."""
    return hashlib.sha256("".join(_digests(manifest)).encode()).hexdigest()


def shards_since(manifest: Manifest, sha256: str) -> int | None:
    """Return how many shards the store has grown by since its `content_sha256` was this; None: it is another store.

    A store that grows keeps its shards and appends others, so that what it held is a beginning of what it holds.
    """
    digest, digests = hashlib.sha256(), _digests(manifest)
    for number, each in enumerate(["", *digests]):
        digest.update(each.encode())
        if digest.hexdigest() == sha256:
            return len(digests) - number
    return None


def _digests(manifest: Manifest) -> list[str]:
    return [entry.sha256 for entry in sorted(manifest.shards, key=lambda each: each.name)]
