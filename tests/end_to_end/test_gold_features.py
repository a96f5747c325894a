"""Published features of real photographs through a store and back."""

import base64
import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.cli import main
from stores.interchange import lxmert_tsv
from stores.reading import open_store

FEATURES = Path(os.environ.get("VINCULUM_TEST_DATA", Path(__file__).parents[2] / "../shared/data")) / "features"
HALF_ULP = 2.0**-11
"""Rounding to float16 changes a normal number by at most this part of it."""
SMALLEST_STEP = 2.0**-25
"""And a smaller one by at most half of float16's smallest step."""

pytestmark = pytest.mark.skipif(not FEATURES.exists(), reason=f"no features at {FEATURES}; set VINCULUM_TEST_DATA")


def convert(source, target_format, out):
    assert main(["convert", "--source", str(source), "--to", target_format, "--out", str(out)]) == 0
    return out


def rounding_bound(features):
    return np.maximum(np.abs(features) * HALF_ULP, SMALLEST_STEP)


@pytest.mark.parametrize("store", ["arrow", "lmdb"])
def test_the_caffe_features_come_back_in_every_byte_but_for_rounding(tmp_path, capsys, store):
    source = FEATURES / "caffe_obj36/train2014_obj36.tsv"
    regions = convert(source, store, tmp_path / "regions")
    again = convert(regions, "lxmert-tsv", tmp_path / "again.tsv")
    theirs, ours = (
        {line.split(b"\t")[0]: dict(zip(lxmert_tsv.COLUMNS, line.split(b"\t"), strict=True)) for line in lines}
        for lines in (source.read_bytes().splitlines(), again.read_bytes().splitlines())
    )
    assert len(ours) == 10
    assert ours.keys() == theirs.keys()
    largest, num_exact = 0.0, 0
    for image_id, expected in theirs.items():
        found = ours[image_id]
        assert {**found, "features": b""} == {**expected, "features": b""}
        want, have = (np.frombuffer(base64.b64decode(each["features"]), "<f4") for each in (expected, found))
        assert have.tobytes() == want.astype(np.float16).astype("<f4").tobytes()
        assert (np.abs(have - want) <= rounding_bound(want)).all()
        largest = max(largest, float(np.abs(have - want).max()))
        num_exact += int((have == want).sum())
    with capsys.disabled():
        print(f"\ncaffe_obj36: features within {largest:.6f}, {num_exact / (10 * 36 * 2048):.1%} unchanged")
    assert largest == pytest.approx(0.014774, abs=1e-6)
    # What survives float16 once survives it always: the second round is equal in every byte.
    second = convert(convert(again, store, tmp_path / "second"), "lxmert-tsv", tmp_path / "third.tsv")
    assert second.read_bytes() == again.read_bytes()


def test_rositas_features_come_back_but_for_rounding(tmp_path, capsys):
    source = FEATURES / "rosita_npz/features"
    regions = convert(source, "arrow", tmp_path / "regions")
    again = convert(regions, "milvlg-npz", tmp_path / "again")
    largest = 0.0
    for path in sorted(source.iterdir()):
        with np.load(path) as theirs, np.load(again / path.name.replace(".jpg", "")) as ours:
            assert ours["bbox"].tobytes() == theirs["boxes"].tobytes()
            assert (ours["image_h"], ours["image_w"]) == (theirs["image_h"], theirs["image_w"])
            assert ours["x"].tobytes() == theirs["x"].astype(np.float16).astype(np.float32).tobytes()
            assert (np.abs(ours["x"] - theirs["x"]) <= rounding_bound(theirs["x"])).all()
            largest = max(largest, float(np.abs(ours["x"] - theirs["x"]).max()))
    with capsys.disabled():
        print(f"\nrosita_npz: features within {largest:.6f}")
    assert largest == pytest.approx(0.013893, abs=1e-6)
    with open_store(regions) as records:
        assert len(records) == 8
        assert {record.num_boxes for record in records} == {36}


def test_imported_features_are_shown_on_their_photographs(tmp_path):
    out = tmp_path / "regions"
    folder = FEATURES / "caffe_obj36"
    given = ("--source", folder / "train2014_obj36.tsv", "--images", folder / "images", "--out", out)
    assert main(["convert", *map(str, given), "--vocabulary", str(FEATURES.parent / "vocab")]) == 0
    assert main(["inspect", str(out), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert page.count('<img src="data:image/jpeg') == 10
    assert "imported without" not in page
