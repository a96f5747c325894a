"""The store's table of contents: what it holds, how it was made, and each shard's checksum."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self

from annotations.guards.plain_json import parse_json
from annotations.guards.shown import shown
from detectors.digests import sha256_of
from stores.atomic import write_json
from stores.errors import DamagedFileError, StoreError
from stores.seal import read_seal

MANIFEST_NAME = "manifest.json"
STORE_FILES = ("shard-", "plan.arrow", "index.arrow")
"""How the names of a store's other files begin; a folder without any of them is no store that lost its manifest."""

Content = Literal["regions", "grid", "sentences"]

SCHEMA_VERSIONS: dict[str, int] = {"regions": 2, "grid": 2, "sentences": 3}
"""The schema version that manifests and shards of each content are written with. Readers refuse a newer one.

Since 2, every row of a shard has a checksum, and rows of images the SHA-256 of their file. Since 3, sentences hold the
IoU of each pointer. A store may hold shards of several versions, the older ones made before the program was renewed.
"""

_ABSENT = object()
_IS_FINISHED = "is_finished"


@dataclass(frozen=True, kw_only=True)
class FailedImage:
    """An image in quarantine: it is in no shard, and this is why."""

    image_id: str
    location: str
    """Where it was read from: a path or URL, for tar members `archive.tar::member`."""
    stage: Literal["read", "decode", "detect", "store"]
    reason: str


@dataclass(frozen=True, kw_only=True)
class DropCount:
    """Annotations that could not be used, and are in no shard."""

    reason: str
    count: int
    first: str
    """Where the first was met, and what was found there."""


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """One finished shard."""

    name: str
    """File name without folder, `shard-00000.arrow`."""
    rows: int
    bytes: int
    sha256: str
    seal: str = ""
    """The digest that the shard carries itself, by which a reader knows the file at once; empty where unknown."""
    failures: tuple[FailedImage, ...] = ()
    drops: tuple[DropCount, ...] = ()
    """Annotations that a sentence shard leaves out, by reason; what was met while its annotations were read."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Numbers of what a sentence shard holds, such as `sentences` and `pointers`."""
    max_rounding_error: float = 0.0
    """Largest difference between a feature of imported regions and its float16."""


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """A store's `manifest.json`; only the run that owns the store writes it, after each finished shard."""

    content: Content
    store: str
    """In `STORES`."""
    configuration: dict[str, Any]
    """Everything that decides the bytes: detector, its options and conventions, weights, vocabularies, shard size."""
    shards: tuple[ShardEntry, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)
    """What is known about the store and decides no byte of it, such as whose its image ids are. A later run may know
    more; a store that lacks a note is continued, and read, as one of which that is not known."""

    @cached_property
    def fingerprint(self) -> str:
        """Return the digest of the configuration; every shard has it in its description."""
        return fingerprint(self.configuration)

    @property
    def is_finished(self) -> bool | None:
        """Whether the sources of a sentence store were read to their end; None where that is not noted.

        Other stores have a plan that tells it.
        """
        noted: bool | None = self.notes.get(_IS_FINISHED)
        return noted

    def noting_finished(self, is_finished: bool) -> Self:
        """Return the manifest with a note of whether the sources were read to their end."""
        return replace(self, notes=self.notes | {_IS_FINISHED: is_finished})


def canonical_json(content: Any) -> bytes:
    """Return JSON in which equal content has equal bytes: sorted keys, no spaces, UTF-8."""
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, sort_keys=True, separators=(",", ":"))
    return text.encode(errors="backslashreplace")  # a file name that is not UTF-8 has surrogates; \udc80 is JSON


def fingerprint(configuration: Mapping[str, Any]) -> str:
    """Return the SHA-256 of `configuration`; two runs may share a store if and only if theirs are equal."""
    return hashlib.sha256(canonical_json(configuration)).hexdigest()


def describe_shard(path: Path, rows: int, failures: Iterable[FailedImage] = ()) -> ShardEntry:
    """Return the manifest's entry for the finished shard at `path`; reads the file once, in blocks."""
    digest, size = sha256_of(path), path.stat().st_size
    in_order = sorted(failures, key=lambda each: each.image_id.encode(errors="surrogatepass"))
    return ShardEntry(
        name=path.name, rows=rows, bytes=size, sha256=digest, seal=read_seal(path), failures=tuple(in_order)
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """`folder` has this manifest, whole and on disk; equal manifests give equal bytes."""
    content = {
        "schema_version": SCHEMA_VERSIONS[manifest.content],
        "content": manifest.content,
        "store": manifest.store,
        "fingerprint": manifest.fingerprint,
        "configuration": manifest.configuration,
        "shards": [asdict(shard) for shard in sorted(manifest.shards, key=lambda each: each.name)],
        **({"notes": manifest.notes} if manifest.notes else {}),
    }
    write_json(folder / MANIFEST_NAME, content | {"checksum": _checksum(content)})


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest of the store in `folder`, as it was written.

    Raises:
        DamagedFileError: it is missing, unreadable or was edited.
        StoreError: a newer version of this program wrote it.
    """
    path = folder / MANIFEST_NAME
    content = _read_object(path)
    require_known_version(path, content.get("schema_version"), content.get("content"))
    recorded = content.pop("checksum", None)
    try:
        checksum = _checksum(content)
    except (ValueError, RecursionError) as error:  # no number, or no end of nesting
        raise DamagedFileError(path, found="values that no manifest has", expected="a manifest") from error
    if recorded != checksum:
        raise DamagedFileError(
            path, found=f"edited (its content has checksum {checksum})", expected=f"checksum {shown(recorded)}"
        )
    try:
        return Manifest(
            content=content["content"],
            store=content["store"],
            configuration=content["configuration"],
            shards=tuple(_entry(each, path) for each in content["shards"]),
            notes=content.get("notes", {}),
        )
    except (KeyError, TypeError) as error:
        raise DamagedFileError(path, found=f"a missing or unknown field ({error})", expected="a manifest") from error


def require_known_version(path: Path, version: Any, content: Any) -> None:
    """This version reads files of this schema version and content; what is neither is left to be found elsewhere.

    Raises:
        StoreError: a newer version of this program wrote it.
    """
    newest = SCHEMA_VERSIONS.get(str(content), max(SCHEMA_VERSIONS.values()))
    if isinstance(version, int) and version > newest:
        raise StoreError(
            f"{path} has schema version {version}, expected at most {newest}; read it with a newer vinculum"
        )


def without_lost_shards(manifest: Manifest, sizes: Mapping[str, int]) -> Manifest:
    """Return the manifest with those entries only whose files are there and as large as they were.

    `sizes` are the bytes of every file in the store, by name.
    """
    return replace(manifest, shards=tuple(entry for entry in manifest.shards if sizes.get(entry.name) == entry.bytes))


def without_replaced_shards(manifest: Manifest, folder: Path) -> Manifest:
    """Return the manifest without those entries whose files in `folder` are others, written after the manifest was.

    A run that was killed may have made a shard again and not come to say so. A new file may be as large as the old.
    """
    written = (folder / MANIFEST_NAME).stat().st_mtime_ns

    def is_replaced(entry: ShardEntry) -> bool:
        path = folder / entry.name
        is_newer = bool(entry.seal) and path.exists() and path.stat().st_mtime_ns >= written
        return is_newer and read_seal(path) != entry.seal

    return replace(manifest, shards=tuple(entry for entry in manifest.shards if not is_replaced(entry)))


def require_same_configuration(existing: Manifest, wanted: Manifest, folder: Path) -> None:
    """The store in `folder` may be continued by a run that would write `wanted`.

    Raises:
        StoreError: listing every option that differs, with both values.
    """
    found = [
        *differences("content", existing.content, wanted.content),
        *differences("store", existing.store, wanted.store),
        *differences("", existing.configuration, json.loads(canonical_json(wanted.configuration))),
    ]
    if found:
        raise StoreError(f"{folder}: {'; '.join(found)}; use a new --out, or the options that the store has")


def require_store(folder: Path) -> None:
    """The folder has a manifest, or other files of a store.

    Raises:
        StoreError: it is not there, or something else.
    """
    wanted = "expected a store, a folder that vinculum extract, align or convert wrote"
    if not folder.is_dir():
        raise StoreError(f"{folder} is {'no folder' if folder.exists() else 'not there'}, {wanted}")
    names = sorted(path.name for path in folder.iterdir())
    if MANIFEST_NAME in names or any(name.startswith(STORE_FILES) for name in names):
        return
    found = f"holds {len(names)} files such as {names[0]!r}" if names else "is empty"
    raise StoreError(f"{folder} is no store: it {found}, and has no {MANIFEST_NAME}; {wanted}")


def _read_object(path: Path) -> dict[str, Any]:
    if not path.exists():
        require_store(path.parent)
        raise DamagedFileError(path, found="missing", expected="the manifest of a store")
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DamagedFileError(path, found=f"unreadable ({error})", expected="JSON") from error
    if not isinstance(content, dict):
        raise DamagedFileError(path, found=f"a JSON {type(content).__name__}", expected="a JSON object")
    return content


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(canonical_json(content)).hexdigest()


def _entry(fields: dict[str, Any], path: Path) -> ShardEntry:
    if Path(fields["name"]).name != fields["name"]:
        raise DamagedFileError(path, found=f"a shard named {fields['name']!r}", expected="a file name without folder")
    failures = tuple(FailedImage(**each) for each in fields["failures"])
    drops = tuple(DropCount(**each) for each in fields.get("drops", ()))
    return ShardEntry(**fields | {"failures": failures, "drops": drops})


def differences(path: str, found: Any, expected: Any, *, told: str = "this run has") -> Iterator[str]:
    """Yield what differs between two JSON values, each with both.

    Args:
        path: where the two stand.
        told: who has the second.
    """
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in sorted(found.keys() | expected.keys()):
            below = f"{path}.{key}" if path else key
            yield from differences(below, found.get(key, _ABSENT), expected.get(key, _ABSENT), told=told)
    elif isinstance(found, list) and isinstance(expected, list):
        # At most two lines for a list: a vocabulary with one word more would otherwise differ at every later word.
        if len(found) != len(expected):
            yield f"{path} had {len(found)} entries, {told} {len(expected)}"
        pairs = enumerate(zip(found, expected, strict=False))
        of_pairs = (list(differences(f"{path}[{i}]", a, b, told=told)) for i, (a, b) in pairs)
        yield from next(filter(None, of_pairs), [])
    elif found is not expected and (_ABSENT in (found, expected) or canonical_json(found) != canonical_json(expected)):
        yield f"{path} was {_shown(found)}, {told} {_shown(expected)}"


def _shown(value: Any) -> str:
    text = "absent" if value is _ABSENT else repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."
