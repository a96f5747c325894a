import hashlib

import pytest

from stores.errors import StoreError
from stores.seal import UNSEALED, is_intact, seal


def test_the_seal_is_the_digest_of_the_unsealed_file(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"content" + UNSEALED + b"end")
    seal(path)
    digest = hashlib.sha256(b"content" + UNSEALED + b"end").hexdigest().encode()
    assert path.read_bytes() == b"content" + b"vinculum-sha256:" + digest + b"end"
    assert is_intact(path)


def test_any_changed_byte_breaks_the_seal(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"content" + UNSEALED + b"end")
    seal(path)
    sealed = path.read_bytes()
    for position in range(len(sealed)):
        path.write_bytes(sealed[:position] + bytes([sealed[position] ^ 1]) + sealed[position + 1 :])
        assert not is_intact(path), position
    for size in range(len(sealed)):
        path.write_bytes(sealed[:size])
        assert not is_intact(path), size


def test_a_file_without_a_place_for_the_seal_is_refused(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"content")
    with pytest.raises(StoreError, match="no 'vinculum-sha256:'"):
        seal(tmp_path / "a.bin")
    assert not is_intact(tmp_path / "a.bin")
