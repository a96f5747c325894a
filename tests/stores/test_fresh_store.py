"""A store that a run begins is gone again where the run ends before its first shard."""

import pytest

from stores.fresh_store import owned_store


def fail_after(folder, *names):
    with pytest.raises(ZeroDivisionError), owned_store(folder):
        for name in names:
            (folder / name).write_text("")
        raise ZeroDivisionError


def test_a_folder_that_was_not_there_is_gone(tmp_path):
    fail_after(tmp_path / "regions", "plan.arrow", "manifest.json", "run.jsonl")
    assert not (tmp_path / "regions").exists()


def test_a_folder_that_was_there_has_what_it_had(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    fail_after(tmp_path, "plan.arrow", "run.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_what_was_made_stays(tmp_path):
    fail_after(tmp_path / "regions", "plan.arrow", "shard-00000.arrow")
    assert len(list((tmp_path / "regions").iterdir())) == 2
