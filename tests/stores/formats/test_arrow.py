import json

import numpy as np
import pyarrow as pa
import pytest

from stores.formats import arrow
from tests.stores.builders import make_grid, make_regions


@pytest.fixture
def path(tmp_path):
    """A shard of two images with 36 and no boxes of 8 features."""
    records = [make_regions("a", num_boxes=36), make_regions("é", num_boxes=0)]
    path = tmp_path / "shard-00000.arrow"
    arrow.write_shard(path, records, content="regions", configuration={"detector": "faster-rcnn"})
    return path


def test_pyarrow_alone_reads_a_shard_and_how_it_was_made(path):
    file = pa.ipc.open_file(str(path))
    description = json.loads(file.schema.metadata[b"vinculum"])
    assert description["configuration"] == {"detector": "faster-rcnn"}
    assert description["content"] == "regions"
    assert description["schema_version"] == 2
    assert len(description["fingerprint"]) == 64
    table = file.read_all()
    assert table["image_id"].to_pylist() == ["a", "é"]
    assert table["feature_dim"].to_pylist() == [8, 8]
    features = table["features"][0].values.to_numpy().reshape(36, 8)
    assert features.tobytes() == make_regions("a").features.tobytes()


def test_pandas_reads_a_shard(path):
    pandas = pytest.importorskip("pandas")
    for rows in (pandas.read_feather(path), pa.ipc.open_file(str(path)).read_pandas()):
        assert rows.image_id.tolist() == ["a", "é"]
        features = rows.features[0].reshape(rows.num_boxes[0], -1)
        assert features.dtype == np.float16
        assert features.tobytes() == make_regions("a").features.tobytes()


def test_datasets_reads_a_shard(path, tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = datasets.load_dataset("arrow", data_files=str(path), cache_dir=str(tmp_path))["train"]
    assert rows["image_id"][:] == ["a", "é"]
    assert len(rows[0]["features"]) == 36 * 8


def test_arrays_are_read_only_views_of_the_file(path):
    with arrow.open_shard(path) as shard:
        record = shard.read(0)
    for array in (record.features, record.boxes_xyxy, record.class_ids, record.attribute_scores):
        assert not array.flags.owndata
        assert not array.flags.writeable


def test_views_stay_good_while_memory_is_released(tmp_path):
    path = tmp_path / "shard-00000.arrow"
    records = [make_grid(f"{n:02d}", height=12, width=12, feature_dim=4096, seed=n) for n in range(30)]  # 35 MB
    arrow.write_shard(path, records, content="grid", configuration={})
    with arrow.open_shard(path) as shard:
        kept = [shard.read(row) for row in range(len(shard))]
        for record, expected in zip(kept, records, strict=True):
            shard.release_memory()
            assert record.features.tobytes() == expected.features.tobytes()


def test_every_shard_has_the_same_columns_the_empty_one_too(path, tmp_path):
    empty = tmp_path / "shard-00001.arrow"
    arrow.write_shard(empty, [], content="regions", configuration={"detector": "faster-rcnn"})
    both = pa.concat_tables([pa.ipc.open_file(str(each)).read_all() for each in (path, empty)])
    assert both.num_rows == 2
