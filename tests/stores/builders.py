"""Small records and stores for the tests."""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.records import Features, GridFeatures, RegionFeatures
from stores.catalog import STORES, StoreName
from stores.images.sources import ImageSource
from stores.manifest import Content, FailedImage, Manifest, describe_shard, write_manifest
from stores.plan import Plan, write_plan

CONFIGURATION: dict[str, Any] = {"detector": {"name": "faster-rcnn", "nms_threshold": 0.3}, "weights": "random:0"}


def random_bits(seed: int, shape: Sequence[int], dtype: type) -> NDArray[Any]:
    """Return every kind of number: infinities, subnormals and NaN with payloads among them."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    return np.frombuffer(np.random.default_rng(seed).bytes(size), dtype).reshape(shape)


def make_regions(image_id: str, *, num_boxes: int = 36, feature_dim: int = 8, seed: int = 0) -> RegionFeatures:
    return RegionFeatures(
        image_id=image_id,
        image_width=640,
        image_height=480,
        boxes_xyxy=random_bits(seed, (num_boxes, 4), np.float32),
        features=random_bits(seed + 1, (num_boxes, feature_dim), np.float16),
        class_ids=np.arange(num_boxes, dtype=np.int32),
        class_scores=random_bits(seed + 2, (num_boxes,), np.float32),
        attribute_ids=np.arange(num_boxes, dtype=np.int32)[::-1],
        attribute_scores=random_bits(seed + 3, (num_boxes,), np.float32),
        selection="relaxed-0.4" if seed % 2 else "confident",
        image_sha256=sha256(image_id.encode()).digest() if seed % 3 else None,
    )


def make_grid(
    image_id: str, *, height: int = 3, width: int = 4, feature_dim: int = 8, num_heads: int = 0, seed: int = 0
) -> GridFeatures:
    cells = height * width
    return GridFeatures(
        image_id=image_id,
        image_width=384,
        image_height=384,
        features=random_bits(seed, (height, width, feature_dim), np.float16),
        attention=random_bits(seed + 1, (num_heads, cells, cells), np.float16) if num_heads else None,
        image_sha256=sha256(image_id.encode()).digest() if seed % 3 else None,
    )


def assert_same(found: Features, expected: Features) -> None:
    """Both records are equal, arrays bit by bit."""
    assert type(found) is type(expected)
    for name, want in vars(expected).items():
        have = getattr(found, name)
        if isinstance(want, np.ndarray):
            assert (have.dtype, have.shape) == (want.dtype, want.shape), name
            assert have.tobytes() == want.tobytes(), name
        else:
            assert have == want, name


def make_store(
    folder: Path,
    shards: Sequence[Sequence[Features]],
    *,
    store: StoreName = "arrow",
    failed: Iterable[tuple[int, str]] = (),
    configuration: dict[str, Any] = CONFIGURATION,
    content: Content = "regions",
    notes: dict[str, Any] | None = None,
) -> Manifest:
    """Write a finished store: `shards` are its records, `failed` pairs of shard number and image id in quarantine."""
    folder.mkdir(exist_ok=True)
    entries, planned = [], []
    for number, records in enumerate(shards):
        name = f"shard-{number:05d}"
        failures = [
            FailedImage(image_id=image_id, location=f"/images/{image_id}.jpg", stage="decode", reason="truncated JPEG")
            for shard, image_id in failed
            if shard == number
        ]
        image_ids = [each.image_id for each in records] + [each.image_id for each in failures]
        in_order = sorted(image_ids, key=str.encode)
        planned.append([ImageSource(each, f"/images/{each}.jpg") for each in in_order])
        path = folder / f"{name}{STORES[store].suffix}"
        rows = STORES[store].write_shard(path, records, content=content, configuration=configuration)
        entries.append(describe_shard(path, rows, failures))
    write_plan(folder, Plan.of_shards(planned))
    manifest = Manifest(
        content=content, store=store, configuration=configuration, shards=tuple(entries), notes=notes or {}
    )
    write_manifest(folder, manifest)
    return manifest
