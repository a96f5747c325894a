from dataclasses import replace

import numpy as np
import pytest

from annotations.guards.drops import DataError
from stores.interchange.catalog import FORMATS, WRITERS, recognise
from tests.stores.interchange import test_milvlg_npz, test_uniter_lmdb, test_vinvl_tsv
from tests.stores.interchange.foreign_files import SUPPLEMENT, butd_line, lxmert_line


def lxmert_tsv(folder):
    (folder / "features.txt").write_bytes(b"cut\tshort\n" + lxmert_line())
    return folder / "features.txt"


def butd_tsv(folder):
    (folder / "features.npz").write_bytes(butd_line())
    return folder / "features.npz"


FILES = {
    "lxmert-tsv": lxmert_tsv,
    "butd-tsv": butd_tsv,
    "milvlg-npz": test_milvlg_npz.save,
    "uniter-lmdb": lambda folder: test_uniter_lmdb.write(folder, {b"7.npz": test_uniter_lmdb.as_msgpack()}),
    "vinvl-tsv": lambda folder: test_vinvl_tsv.write(folder, test_vinvl_tsv.found()),
}


every_format = pytest.mark.parametrize("name", FORMATS)


def write_example(name, folder):
    """Return the path of a small file or folder of the format: ours, or the one that the format itself brings."""
    if name in FILES:
        return FILES[name](folder)
    for file, content in FORMATS[name].example.items():
        (folder / file).write_bytes(content)
    return folder / file if len(FORMATS[name].example) == 1 else folder


@every_format
def test_a_format_is_known_by_its_content(tmp_path, name):
    assert recognise(write_example(name, tmp_path)) == name


@every_format
def test_every_row_is_read_into_regions_with_the_names_of_the_format_s_vocabulary(tmp_path, name):
    path, foreign = write_example(name, tmp_path), FORMATS[name]
    supplement = replace(SUPPLEMENT, vocabulary=foreign.own_vocabulary(path))
    rows = [row for row in foreign.list_rows(path) if not row.fault]
    assert rows
    for row in rows:
        regions = foreign.read_row(path, row, supplement).regions
        assert regions.image_id == row.image_id
        assert len(regions.boxes_xyxy) == len(regions.features) > 0


@every_format
def test_a_format_says_what_the_path_must_be_and_how_its_numbers_are_meant(name):
    assert FORMATS[name].place and FORMATS[name].conventions
    assert FORMATS[name].needs_sizes in (True, False)


def test_what_can_be_written_can_be_read():
    assert WRITERS.keys() <= FORMATS.keys()


def test_what_is_no_features_is_told_with_what_is(tmp_path):
    (tmp_path / "empty.tsv").touch()
    (tmp_path / "data.mdb").write_bytes(b"no database")
    (tmp_path / "folder").mkdir()
    np.savez(tmp_path / "folder/7.npz", weights=np.zeros(3))
    for path in (tmp_path, tmp_path / "empty.tsv", tmp_path / "data.mdb", tmp_path / "folder"):
        with pytest.raises(DataError, match=r"features of no known format.* lxmert-tsv: .*uniter-lmdb: "):
            recognise(path)
    with pytest.raises(DataError, match="no such file or folder"):
        recognise(tmp_path / "absent")
