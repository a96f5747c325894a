import hashlib
import json
import os

import pytest

from stores.errors import DamagedFileError, StoreError
from stores.manifest import (
    FailedImage,
    Manifest,
    ShardEntry,
    describe_shard,
    fingerprint,
    read_manifest,
    require_same_configuration,
    write_manifest,
)

FAILED = FailedImage(image_id="7", location=os.fsdecode(b"/\xff.jpg"), stage="decode", reason="truncated JPEG")
SHARD = ShardEntry(name="shard-00000.arrow", rows=2, bytes=9, sha256="ab", failures=(FAILED,))
MANIFEST = Manifest(content="regions", store="arrow", configuration={"nms": 0.3, "é": [1, None]}, shards=(SHARD,))


def manifest_of(**configuration):
    return Manifest(content="regions", store="arrow", configuration=configuration)


def test_a_manifest_reads_as_it_was_written(tmp_path):
    write_manifest(tmp_path, MANIFEST)
    assert read_manifest(tmp_path) == MANIFEST


def test_equal_manifests_have_equal_bytes_whatever_the_order_of_shards_and_options(tmp_path):
    other = ShardEntry(name="shard-00001.arrow", rows=0, bytes=1, sha256="cd")
    options = {"nms": 0.3, "é": (1, None)}
    texts = []
    for shards, configuration in [((SHARD, other), options), ((other, SHARD), dict(reversed(options.items())))]:
        manifest = Manifest(content="regions", store="arrow", configuration=configuration, shards=shards)
        write_manifest(tmp_path, manifest)
        texts.append((tmp_path / "manifest.json").read_bytes())
    assert texts[0] == texts[1]


def test_a_manifest_has_its_schema_version_and_fingerprint(tmp_path):
    write_manifest(tmp_path, MANIFEST)
    content = json.loads((tmp_path / "manifest.json").read_text())
    assert content["schema_version"] == 2
    assert content["fingerprint"] == fingerprint(MANIFEST.configuration)


def test_the_fingerprint_is_the_sha256_of_canonical_json():
    assert fingerprint({"b": (1, 2.5), "a": "é"}) == hashlib.sha256('{"a":"é","b":[1,2.5]}'.encode()).hexdigest()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text.replace('"rows": 2', '"rows": 3'), "edited"),
        (lambda text: text.replace("0.3", "0.5"), "edited"),
        (lambda text: text.replace('"checksum"', '"checksums"'), "edited"),
        (lambda text: text[:-20], "unreadable"),
        (lambda text: "", "unreadable"),
        (lambda text: "[]", "a JSON list"),
    ],
)
def test_a_changed_manifest_is_refused(tmp_path, damage, said):
    write_manifest(tmp_path, MANIFEST)
    path = tmp_path / "manifest.json"
    path.write_text(damage(path.read_text()))
    with pytest.raises(DamagedFileError, match=f"manifest.json: {said}.*run vinculum repair"):
        read_manifest(tmp_path)


def test_bytes_that_are_not_utf8_are_refused(tmp_path):
    (tmp_path / "manifest.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(DamagedFileError, match="unreadable"):
        read_manifest(tmp_path)


def test_a_missing_manifest_is_named(tmp_path):
    (tmp_path / "plan.arrow").touch()
    with pytest.raises(DamagedFileError, match=r"manifest\.json: missing, expected the manifest of a store"):
        read_manifest(tmp_path)


@pytest.mark.parametrize(("content", "newest"), [("regions", 2), ("grid", 2), ("sentences", 3), (["x"], 3), (None, 3)])
def test_a_newer_manifest_is_refused_even_if_it_has_another_checksum(content, newest, tmp_path):
    fields = {"schema_version": newest + 1, "content": content, "sum": "x"}
    (tmp_path / "manifest.json").write_text(json.dumps(fields))
    says = f"has schema version {newest + 1}, expected at most {newest}; read it with a newer vinculum"
    with pytest.raises(StoreError, match=says):
        read_manifest(tmp_path)


def test_a_shard_outside_the_folder_is_refused(tmp_path):
    write_manifest(
        tmp_path,
        Manifest(
            content="regions",
            store="arrow",
            configuration={},
            shards=(ShardEntry(name="../shard-00000.arrow", rows=0, bytes=0, sha256=""),),
        ),
    )
    with pytest.raises(DamagedFileError, match="expected a file name without folder"):
        read_manifest(tmp_path)


def test_a_shard_is_described_by_its_bytes_and_its_failures_in_order(tmp_path):
    (tmp_path / "shard-00000.arrow").write_bytes(b"abc")
    failures = [FailedImage(image_id=each, location="x", stage="read", reason="empty") for each in ("b", "é", "a")]
    entry = describe_shard(tmp_path / "shard-00000.arrow", 5, failures)
    assert (entry.name, entry.rows, entry.bytes) == ("shard-00000.arrow", 5, 3)
    assert entry.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert [each.image_id for each in entry.failures] == ["a", "b", "é"]


def test_the_same_options_may_continue_a_store(tmp_path):
    require_same_configuration(manifest_of(sizes=[600, 1000]), manifest_of(sizes=(600, 1000)), tmp_path)


def test_every_differing_option_is_told_with_both_values(tmp_path):
    existing = manifest_of(detector={"nms_threshold": 0.3, "pool": "align"}, seed=1, old=None)
    wanted = manifest_of(detector={"nms_threshold": 0.5, "pool": "align"}, seed=1.0, new="x")
    with pytest.raises(StoreError) as refusal:
        require_same_configuration(existing, wanted, tmp_path)
    assert str(refusal.value) == (
        f"{tmp_path}: detector.nms_threshold was 0.3, this run has 0.5; new was absent, this run has 'x'; "
        "old was None, this run has absent; seed was 1, this run has 1.0; "
        "use a new --out, or the options that the store has"
    )


def test_a_longer_vocabulary_is_told_in_two_lines(tmp_path):
    existing, wanted = manifest_of(classes=["cat", "dog", "elk"]), manifest_of(classes=["cat", "cow", "dog", "elk"])
    with pytest.raises(StoreError) as refusal:
        require_same_configuration(existing, wanted, tmp_path)
    assert "classes had 3 entries, this run has 4; classes[1] was 'dog', this run has 'cow'; use" in str(refusal.value)


def test_another_kind_of_content_or_file_is_refused(tmp_path):
    existing = Manifest(content="regions", store="arrow", configuration={"store": "x"})
    wanted = Manifest(content="grid", store="lmdb", configuration={"store": "x"})
    with pytest.raises(StoreError) as refusal:
        require_same_configuration(existing, wanted, tmp_path)
    assert "content was 'regions', this run has 'grid'; store was 'arrow', this run has 'lmdb'" in str(refusal.value)
