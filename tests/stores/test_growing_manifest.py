import pytest

from stores import growing_manifest
from stores.growing_manifest import GrowingManifest
from stores.manifest import Manifest, ShardEntry, read_manifest

EMPTY = Manifest(content="regions", store="arrow", configuration={})


def entry(number, rows=1):
    return ShardEntry(name=f"shard-{number:05d}.arrow", rows=rows, bytes=1, sha256="0")


def names(folder):
    return [each.name for each in read_manifest(folder).shards]


def test_the_manifest_is_on_disk_before_and_after_whatever_ends_the_run(tmp_path):
    with pytest.raises(KeyError), GrowingManifest(tmp_path, EMPTY) as growing:
        assert names(tmp_path) == []
        growing.add(entry(1))
        growing.add(entry(0))
        growing.add(entry(1, rows=2))
        raise KeyError
    assert read_manifest(tmp_path).shards == (entry(0), entry(1, rows=2))


def test_writing_takes_a_hundredth_of_the_time(tmp_path, monkeypatch):
    now = [0.0]
    written = []

    def takes_half_a_second(folder, manifest):
        now[0] += 0.5
        written.append((now[0], len(manifest.shards)))

    monkeypatch.setattr(growing_manifest, "write_manifest", takes_half_a_second)
    monkeypatch.setattr(growing_manifest.time, "monotonic", lambda: now[0])
    with GrowingManifest(tmp_path, EMPTY) as growing:
        for number in range(200):
            now[0] += 1
            growing.add(entry(number))
            growing.write_if_due()
    # At 0.5 s, 50 s after that has ended, 50 s after that, ...; and at the end.
    assert written == [(0.5, 0), (51.0, 50), (101.5, 100), (152.0, 150), (202.5, 200)]


def test_nothing_new_is_not_written_again(tmp_path):
    published = []
    with GrowingManifest(tmp_path, EMPTY, published.append) as growing:
        growing.write_if_due()
    assert published == [tmp_path / "manifest.json"]


def test_a_full_disk_at_the_end_does_not_hide_what_ended_the_run(tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    with pytest.raises(KeyError), GrowingManifest(folder, EMPTY) as growing:
        growing.add(entry(0))
        (folder / "manifest.json").unlink()
        folder.rmdir()
        raise KeyError
