"""Records as bytes, which an LMDB file holds under their ids; the layout is told at the head of lmdb.py."""

import math
import struct
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from annotations.alignment.sentences import AlignedSentence, PointedWords
from annotations.guards.plain_json import parse_json
from detectors.records import Features, GridFeatures, RegionFeatures
from stores.formats.sentence_columns import sentence_fields, sentence_from_fields
from stores.manifest import canonical_json

CHECKSUM = struct.Struct("<Q")
NO_DIGEST = bytes(32)
_REGION_HEADER = struct.Struct("<4i")
_GRID_HEADER = struct.Struct("<6i")
SENTENCE_HEADER = struct.Struct("<4i")
_BAKED, _HAS_POINTERS = 1, 2


def checked(row_id: str, content: bytes) -> tuple[bytes, bytes]:
    """Return a row's key and value."""
    key = row_id.encode()
    return key, checksum_of(key, content) + content


def checksum_of(key: bytes, content: bytes | memoryview) -> bytes:
    digest = xxhash.xxh3_64(key)
    digest.update(content)
    return CHECKSUM.pack(digest.intdigest())


def encode(record: Features) -> bytes:
    digest = record.image_sha256 or NO_DIGEST
    if isinstance(record, RegionFeatures):
        header = _REGION_HEADER.pack(record.image_width, record.image_height, record.num_boxes, record.feature_dim)
        arrays: list[NDArray[Any]] = [
            record.boxes_xyxy,
            record.class_ids,
            record.class_scores,
            record.attribute_ids,
            record.attribute_scores,
            record.features,
        ]
        return b"".join([digest, header, *map(_little_endian, arrays), record.selection.encode()])
    attention = [] if record.attention is None else [record.attention]
    num_heads = sum(map(len, attention))
    header = _GRID_HEADER.pack(record.image_width, record.image_height, *record.features.shape, num_heads)
    return b"".join([digest, header, *map(_little_endian, (record.features, *attention))])


def _little_endian(array: NDArray[Any]) -> bytes:
    return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def decode_regions(image_id: str, value: bytes, digest: bytes | None, start: int) -> RegionFeatures:
    image_width, image_height, num_boxes, feature_dim = _REGION_HEADER.unpack_from(value, start)
    arrays = _Arrays(value, start + _REGION_HEADER.size)
    return RegionFeatures(
        image_id=image_id,
        image_width=image_width,
        image_height=image_height,
        boxes_xyxy=arrays.next("<f4", num_boxes, 4),
        class_ids=arrays.next("<i4", num_boxes),
        class_scores=arrays.next("<f4", num_boxes),
        attribute_ids=arrays.next("<i4", num_boxes),
        attribute_scores=arrays.next("<f4", num_boxes),
        features=arrays.next("<f2", num_boxes, feature_dim),
        selection=value[arrays.position :].decode(),
        image_sha256=digest,
    )


def decode_grid(image_id: str, value: bytes, digest: bytes | None, start: int) -> GridFeatures:
    image_width, image_height, height, width, feature_dim, num_heads = _GRID_HEADER.unpack_from(value, start)
    arrays = _Arrays(value, start + _GRID_HEADER.size)
    return GridFeatures(
        image_id=image_id,
        image_width=image_width,
        image_height=image_height,
        features=arrays.next("<f2", height, width, feature_dim),
        attention=arrays.next("<f2", num_heads, height * width, height * width) if num_heads else None,
        image_sha256=digest,
    )


def encode_sentence(aligned: AlignedSentence) -> bytes:
    words, fields = aligned.words, canonical_json(sentence_fields(aligned))
    fields += b" " * (-len(fields) % 4)
    contains = 0
    flags: list[NDArray[Any]] = [words.in_answer, words.oov]
    arrays: list[NDArray[Any]] = [words.starts, words.ends, words.images, words.position, words.semantic]
    if aligned.pointer_position is not None:
        contains |= _HAS_POINTERS
        arrays.append(aligned.pointer_position)
    if words.targets is not None and words.supervised is not None:
        contains |= _BAKED
        arrays.append(words.targets)
        flags.append(words.supervised)
    header = SENTENCE_HEADER.pack(len(words), words.position.shape[1], len(fields), contains)
    return b"".join([header, fields, *(_little_endian(array) for array in (*arrays, *flags))])


def decode_sentence(value: bytes, start: int) -> AlignedSentence:
    num_words, num_regions, num_bytes, contains = SENTENCE_HEADER.unpack_from(value, start)
    is_baked = contains & _BAKED
    fields_start = start + SENTENCE_HEADER.size
    fields_end = fields_start + num_bytes
    fields = parse_json(value[fields_start:fields_end])
    arrays = _Arrays(value, fields_end)
    spans = {name: arrays.next("<i4", num_words) for name in ("starts", "ends", "images")}
    rows = {name: arrays.next("<f2", num_words, num_regions) for name in ("position", "semantic")}
    pointer_position = None
    if contains & _HAS_POINTERS:
        pointer_position = arrays.next("<f2", int(np.count_nonzero(fields["pointer_num_boxes"])), num_regions)
    if is_baked:
        rows["targets"] = arrays.next("<f2", num_words, num_regions)
    flags = ("in_answer", "oov", "supervised") if is_baked else ("in_answer", "oov")
    words = PointedWords(**spans, **rows, **{name: arrays.next("?", num_words) for name in flags})
    return sentence_from_fields(fields, words, pointer_position)


class _Arrays:
    """Reads one array after the other; evaluation order is layout order."""

    def __init__(self, value: bytes, position: int) -> None:
        self._value = value
        self.position = position

    def next(self, dtype: str, *shape: int) -> NDArray[Any]:
        array = np.frombuffer(self._value, dtype, math.prod(shape), self.position).reshape(shape)
        self.position += array.nbytes
        return array
