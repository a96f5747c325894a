"""Shards as the program wrote them before rows had checksums: schema version 1."""

import json
from pathlib import Path
from typing import Any

import lmdb
import pyarrow as pa

from stores.atomic import replacing
from stores.catalog import STORES
from stores.manifest import MANIFEST_NAME, canonical_json, describe_shard, fingerprint, read_manifest
from stores.seal import UNSEALED, seal
from tests.stores.version_two import make_sentence_shard_old

_KEY = b"vinculum"


def make_old(folder: Path) -> None:
    """The store in `folder` is one of schema version 1: shards, index and manifest; what it holds is the same."""
    manifest = read_manifest(folder)
    (folder / "index.arrow").unlink(missing_ok=True)
    content = json.loads((folder / MANIFEST_NAME).read_text())
    del content["checksum"]
    content["schema_version"] = 1
    for entry in content["shards"]:
        make_shard_old(folder / entry["name"])
        again = describe_shard(folder / entry["name"], entry["rows"])
        entry |= {"bytes": again.bytes, "sha256": again.sha256}
        del entry["seal"]
    assert manifest.content == content["content"]
    (folder / MANIFEST_NAME).write_text(json.dumps(content | {"checksum": fingerprint(content)}))


def make_shard_old(path: Path) -> None:
    """The shard at `path` is one of schema version 1."""
    with STORES[path.suffix[1:]].open_shard(path) as shard:
        content = shard.description.content
    if content == "sentences":
        make_sentence_shard_old(path)
    {".arrow": _write_old_arrow, ".lmdb": _write_old_lmdb}[path.suffix](path)


def _write_old_arrow(path: Path) -> None:
    table = pa.ipc.open_file(pa.BufferReader(path.read_bytes())).read_all()
    kept = table.drop_columns([name for name in ("image_sha256", "checksum") if name in table.column_names])
    schema = kept.schema.with_metadata({_KEY: _old_description(table.schema.metadata[_KEY])})
    with replacing(path) as temporary:
        with (
            pa.OSFile(str(temporary), "wb") as sink,
            pa.ipc.new_file(sink, schema, metadata={"seal": UNSEALED}) as writer,
        ):
            for batch in kept.to_batches():
                writer.write_batch(batch)
        seal(temporary)


def _write_old_lmdb(path: Path) -> None:
    with lmdb.open(str(path), subdir=False, lock=False, readonly=True) as environment, environment.begin() as reading:
        items = dict(reading.cursor())
    description = items.pop(b"\0" + _KEY)
    start = 8 if json.loads(description)["content"] == "sentences" else 40
    with replacing(path) as temporary:
        with lmdb.open(str(temporary), subdir=False, lock=False, map_size=64 << 20) as environment:
            with environment.begin(write=True) as writing:
                writing.put(b"\0" + _KEY, _old_description(description), append=True)
                for key, value in items.items():
                    writing.put(key, value[start:], append=True)
            size = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
        with temporary.open("r+b") as file:
            file.truncate(size)
            file.seek(size)
            file.write(UNSEALED)
        seal(temporary)


def _old_description(description: bytes) -> bytes:
    fields: dict[str, Any] = json.loads(description)
    del fields["checksum"]
    return canonical_json(fields | {"schema_version": 1})
