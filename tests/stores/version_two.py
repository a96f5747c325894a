"""Sentence shards as the program wrote them before they held the IoU of each pointer: schema version 2."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from annotations.alignment.sentences import AlignedSentence
from stores.catalog import STORES
from stores.formats import arrow, lmdb, lmdb_records
from stores.formats.row_checksums import CHECKSUM, with_checksums
from stores.formats.sentence_columns import POINTER_POSITION
from stores.manifest import MANIFEST_NAME, canonical_json, describe_shard, fingerprint

OLD_STORES = ("arrow", "lmdb")
"""Those that older versions of the program had."""

_KEY = b"vinculum"


def make_sentences_old(folder: Path) -> None:
    """The sentence store in `folder` is one of schema version 2, of the same sentences."""
    content = json.loads((folder / MANIFEST_NAME).read_text())
    del content["checksum"]
    content["schema_version"] = 2
    for entry in content["shards"]:
        path = folder / entry["name"]
        make_sentence_shard_old(path)
        again = describe_shard(path, entry["rows"])
        entry |= {"bytes": again.bytes, "sha256": again.sha256, "seal": again.seal}
    (folder / MANIFEST_NAME).write_bytes(canonical_json(content | {"checksum": fingerprint(content)}))


def make_sentence_shard_old(path: Path) -> None:
    """The sentence shard at `path` is one of schema version 2, with the checksums that it had then."""
    {".arrow": _write_old_arrow, ".lmdb": _write_old_lmdb}[path.suffix](path)


def _write_old_arrow(path: Path) -> None:
    table = pa.ipc.open_file(pa.BufferReader(path.read_bytes())).read_all()
    old = table.drop_columns([POINTER_POSITION])
    schema = old.schema.with_metadata({_KEY: _old_description(table.schema.metadata[_KEY])})
    columns = (batch.drop_columns([CHECKSUM]).columns for batch in old.to_batches())
    arrow._write(path, schema, (with_checksums(each, schema) for each in columns))


def _write_old_lmdb(path: Path) -> None:
    with STORES["lmdb"].open_shard(path) as shard:
        sentences = [shard.read_sentence(row) for row in range(len(shard))]
        description = arrow.arrow_schema("sentences", shard.description.configuration).metadata[_KEY]
    lmdb._write(path, _old_rows(sentences), _old_description(description))


def _old_rows(sentences: list[AlignedSentence]) -> Iterator[list[tuple[bytes, bytes]]]:
    without = [
        AlignedSentence(sentence=each.sentence, num_boxes=each.num_boxes, words=each.words) for each in sentences
    ]
    yield [lmdb_records.checked(each.sentence.sentence_id, lmdb_records.encode_sentence(each)) for each in without]


def _old_description(description: bytes) -> bytes:
    fields: dict[str, Any] = json.loads(description)
    del fields["checksum"]
    fields["schema_version"] = 2
    return canonical_json(fields | {"checksum": fingerprint(fields)})
