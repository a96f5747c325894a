"""Whatever happens to a file's bytes, a row is a record or a RowError."""

import contextlib
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.guards.drops import DataError
from stores.interchange import butd_tsv, lxmert_tsv, milvlg_npz, uniter_lmdb, vinvl_tsv
from stores.interchange.catalog import recognise
from stores.interchange.rows import RowError
from tests.stores.interchange import test_milvlg_npz, test_uniter_lmdb, test_vinvl_tsv
from tests.stores.interchange.foreign_files import SUPPLEMENT, butd_line, lxmert_line


def whole_files():
    """Return each format's module with the bytes of a small file of it."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (npz,) = test_milvlg_npz.save(place).glob("*.npz")
        prediction = test_vinvl_tsv.write(place, test_vinvl_tsv.found(attributes=["tall"], attr_scores=[0.5]))
        return {
            "lxmert": (lxmert_tsv, lxmert_line()),
            "butd": (butd_tsv, butd_line()),
            "vinvl": (vinvl_tsv, prediction.read_bytes()),
            "milvlg": (milvlg_npz, npz.read_bytes()),
            "uniter-npz": (uniter_lmdb, test_uniter_lmdb.as_npz()),
            "uniter-msgpack": (uniter_lmdb, test_uniter_lmdb.as_msgpack()),
        }


WHOLE = whole_files()


def place_of(foreign, folder, content):
    if foreign is uniter_lmdb:
        return test_uniter_lmdb.write(folder, {b"7.npz": content})
    path = folder / "7.npz"
    path.write_bytes(content)
    return folder if foreign is milvlg_npz else path


@pytest.mark.parametrize("name", WHOLE)
@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_damage_costs_a_row_and_nothing_else(name, data):
    foreign, whole = WHOLE[name]
    at = data.draw(st.integers(0, len(whole)))
    damaged = whole[:at] + data.draw(st.binary(max_size=4)) + whole[at + data.draw(st.integers(0, 8)) :]
    with tempfile.TemporaryDirectory() as folder:
        path = place_of(foreign, Path(folder), damaged)
        with contextlib.suppress(DataError):
            recognise(path)
        for row in list(foreign.list_rows(path)):
            if not row.fault:
                with contextlib.suppress(RowError):
                    assert foreign.read_row(path, row, SUPPLEMENT).regions.image_id == row.image_id
