"""What an input is known by: every byte of it, read once while nothing changes."""

import hashlib
import os
import time

import numpy as np
import pytest
from gensim.models import KeyedVectors

from annotations.vectors.files import arrays_beside
from pipeline.inputs import digest_cache
from pipeline.inputs.identity import BY_NAMES, as_recorded, identity_of

SETTLED_SECONDS = 0.05
"""So short that no test waits for long."""


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(digest_cache, "SETTLED_SECONDS", SETTLED_SECONDS)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "vinculum" / "digests"


@pytest.fixture
def folder(tmp_path):
    """A hundred files that have lain there for a while."""
    folder = tmp_path / "annotations"
    for number in range(100):
        path = folder / f"Sentences/{number}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"A man {number:03d}")
    age(folder)
    return folder


def age(folder):
    """All files of the folder changed long ago, and the clock of their status is let go by."""
    for path in folder.rglob("*"):
        os.utime(path, (1e9, 1e9))
    time.sleep(2 * SETTLED_SECONDS)


@pytest.fixture
def reads(monkeypatch):
    """The files that are opened for their content."""
    opened = []

    class Counted(digest_cache.FileIO):
        def __init__(self, path):
            opened.append(path)
            super().__init__(path)

    monkeypatch.setattr(digest_cache, "FileIO", Counted)
    return opened


def test_an_edit_of_equal_size_is_another_identity_however_many_files_there_are(folder):
    before = identity_of(folder)
    assert (before["files"], before["of"]) == (100, "contents")
    (folder / "Sentences/7.txt").write_text("A dog 007")
    assert identity_of(folder) | {"sha256": before["sha256"]} == before
    assert identity_of(folder) != before


def test_an_edit_that_keeps_size_and_time_is_seen_behind_the_cache(folder):
    before = identity_of(folder)
    path = folder / "Sentences/7.txt"
    path.write_text("A dog 007")
    os.utime(path, (1e9, 1e9))  # as rsync and cp -p do
    assert identity_of(folder) != before


def test_files_that_stay_as_they_are_are_read_once(folder, reads):
    before = identity_of(folder)
    assert len(reads) == 100
    assert identity_of(folder) == before
    assert len(reads) == 100
    (folder / "Sentences/7.txt").write_text("A dog 007")
    identity_of(folder)
    assert reads[100:] == [str(folder / "Sentences/7.txt")]


def test_a_file_that_has_just_changed_is_not_kept(tmp_path, reads, monkeypatch):
    monkeypatch.setattr(digest_cache, "SETTLED_SECONDS", 60)
    (tmp_path / "minival.txt").write_text("9\n")
    identity_of(tmp_path / "minival.txt")
    identity_of(tmp_path / "minival.txt")
    assert len(reads) == 2


def test_a_small_folder_has_the_identity_that_older_versions_gave_it(tmp_path):
    (tmp_path / "small/a").mkdir(parents=True)
    (tmp_path / "small/a/1.txt").write_text("one")
    (tmp_path / "small/a.txt").write_text("two")
    lines = "".join(
        f"{path.relative_to(tmp_path / 'small').as_posix()}\t3\t{hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for path in sorted(each for each in (tmp_path / "small").rglob("*") if each.is_file())
    )
    assert identity_of(tmp_path / "small") == {
        "files": 2,
        "bytes": 6,
        "sha256": hashlib.sha256(lines.encode()).hexdigest(),
        "of": "contents",
    }


@pytest.mark.parametrize("content", [b"", b"[]", b'{"": 7}', b'{"Sentences/7.txt": [1, 2, 3, 4, 5]}', b"\xff"])
def test_a_damaged_cache_only_costs_time(content, folder, cache):
    before = identity_of(folder)
    (file,) = cache.iterdir()
    file.write_bytes(content)
    assert identity_of(folder) == before


def test_a_cache_that_cannot_be_written_only_costs_time(folder, tmp_path, monkeypatch):
    before = identity_of(folder)
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))  # below a file nothing can be made, by nobody
    assert identity_of(folder) == before


def test_where_a_folder_lies_does_not_matter(folder, tmp_path):
    before = identity_of(folder)
    folder.rename(tmp_path / "moved")
    assert identity_of(tmp_path / "moved") == before


def test_pictures_among_many_files_are_known_by_name_and_size(folder, reads):
    (folder / "images").mkdir()
    (folder / "images/1.jpg").write_bytes(b"picture")
    before = identity_of(folder)
    assert str(folder / "images/1.jpg") not in reads
    (folder / "images/1.jpg").write_bytes(b"larger picture")
    assert identity_of(folder) != before


def test_what_is_read_beside_a_file_is_part_of_its_identity(tmp_path):
    (tmp_path / "refs(unc).p").write_bytes(b"refs")
    assert "beside" not in identity_of(tmp_path / "refs(unc).p", beside=("instances.json",))
    (tmp_path / "instances.json").write_text("[1]")
    before = identity_of(tmp_path / "refs(unc).p", beside=("instances.json",))
    (tmp_path / "instances.json").write_text("[2]")
    after = identity_of(tmp_path / "refs(unc).p", beside=("instances.json",))
    assert before["sha256"] == after["sha256"]
    assert before["beside"] != after["beside"]


def test_arrays_that_gensim_saves_beside_the_words_are_part_of_vectors(tmp_path):
    keyed = KeyedVectors(3)
    keyed.add_vectors(["a", "b"], np.ones((2, 3), np.float32))
    path = tmp_path / "vectors[1].kv"
    keyed.save(str(path), sep_limit=0)
    before = identity_of(path, beside=arrays_beside(path))
    assert before["beside"]["files"] == 1
    np.save(tmp_path / "vectors[1].kv.vectors.npy", np.zeros((2, 3), np.float32))
    assert identity_of(path, beside=arrays_beside(path)) != before


def test_what_an_older_version_recorded_is_compared_as_it_did(folder):
    files = sorted(each for each in folder.rglob("*") if each.is_file())
    lines = "".join(f"{each.relative_to(folder).as_posix()}\t{each.stat().st_size}\t\n" for each in files)
    recorded = {
        "files": 100,
        "bytes": 900,
        "sha256": hashlib.sha256(lines.encode()).hexdigest(),
        "of": BY_NAMES,
    }
    assert as_recorded(identity_of(folder), recorded, folder) == recorded
    (folder / "Sentences/7.txt").unlink()
    assert as_recorded(identity_of(folder), recorded, folder) != recorded
    assert as_recorded(identity_of(folder), {}, folder) == identity_of(folder)


def test_an_older_version_did_not_look_beside_a_file(tmp_path):
    (tmp_path / "test_questions.json").write_text("{}")
    recorded = identity_of(tmp_path / "test_questions.json")
    (tmp_path / "val_sceneGraphs.json").write_text("{}")
    found = identity_of(tmp_path / "test_questions.json", beside=("*sceneGraphs.json",))
    assert as_recorded(found, recorded, tmp_path / "test_questions.json") == recorded
