import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from stores.atomic import leftovers, locked, remove_leftovers, replacing, write_json
from stores.errors import StoreError


def test_the_target_appears_whole_and_nothing_else_stays(tmp_path):
    with replacing(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(b"new")
        assert not (tmp_path / "a.bin").exists()
    assert (tmp_path / "a.bin").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_an_exception_leaves_the_old_file_and_no_temporary(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a.bin") as temporary:
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert (tmp_path / "a.bin").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.bin"]


def test_two_attempts_never_share_a_temporary(tmp_path):
    with replacing(tmp_path / "a.bin") as first, replacing(tmp_path / "a.bin") as second:
        assert first != second
        assert leftovers(tmp_path) == sorted([first, second])


def test_an_error_without_a_file_name_gets_one(tmp_path):
    with pytest.raises(OSError, match=r"No space left on device: '.*a\.bin'"), replacing(tmp_path / "a.bin"):
        raise OSError(28, "No space left on device")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"), replacing(tmp_path / "absent" / "a.bin"):
        pass


def test_only_temporaries_count_as_leftovers(tmp_path):
    for name in (".shard-00000.arrow.0123456789abcdef.tmp", ".notes.tmp", "shard-00000.arrow", ".hidden"):
        (tmp_path / name).touch()
    assert [path.name for path in remove_leftovers(tmp_path)] == [".shard-00000.arrow.0123456789abcdef.tmp"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", ".notes.tmp", "shard-00000.arrow"]


def test_equal_json_has_equal_bytes_and_keeps_names_that_are_not_utf8(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1, "a": ["é", os.fsdecode(b"\xff.jpg")]})
    write_json(tmp_path / "b.json", {"a": ["é", os.fsdecode(b"\xff.jpg")], "b": 1})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert (tmp_path / "a.json").read_text() == '{\n "a": [\n  "é",\n  "\\udcff.jpg"\n ],\n "b": 1\n}\n'


def test_a_second_owner_is_refused_at_once_and_the_lock_leaves_no_file(tmp_path):
    with locked(tmp_path), pytest.raises(StoreError, match="another run owns this store"), locked(tmp_path):
        pass
    with locked(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_a_killed_owner_holds_the_lock_no_longer(tmp_path):
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWN, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"owned\n"
    with pytest.raises(StoreError), locked(tmp_path):
        pass
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    with locked(tmp_path):
        pass


_OWN = """
import sys, time
from pathlib import Path
from stores.atomic import locked
with locked(Path(sys.argv[1])):
    print("owned", flush=True)
    time.sleep(60)
"""
