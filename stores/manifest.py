"""The store's table of contents: what it holds, how it was made, and each shard's checksum."""

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class FailedImage:
    """An image in quarantine: it is in no shard, and this is why."""

    image_id: str
    location: str
    """Where it was read from: a path or URL, for tar members `archive.tar::member`."""
    stage: Literal["read", "decode", "detect", "store"]
    reason: str


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """One finished shard."""

    name: str
    """File name without folder, `shard-00000.arrow`."""
    rows: int
    bytes: int
    sha256: str
    failures: tuple[FailedImage, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A store's `manifest.json`; only the run that owns the store writes it, after each finished shard."""

    content: Literal["regions", "grid"]
    store: Literal["arrow", "lmdb"]
    configuration: dict[str, Any]
    """Everything that decides the bytes: detector, its options and conventions, weights, vocabularies, shard size."""
    shards: tuple[ShardEntry, ...] = ()
