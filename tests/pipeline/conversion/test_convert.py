import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from pipeline.care.verify import repair, verify
from pipeline.cli import main
from pipeline.conversion.convert import SourceFormat, TargetFormat
from stores.catalog import STORES
from stores.interchange import lxmert_tsv, milvlg_npz
from stores.interchange.catalog import FORMATS, WRITERS
from stores.manifest import read_manifest, write_manifest
from stores.plan import read_plan
from stores.reading import open_store
from tests.stores.builders import CONFIGURATION, make_grid, make_regions, make_store
from tests.stores.interchange import test_uniter_lmdb, test_vinvl_tsv
from tests.stores.interchange.foreign_files import base64_of, butd_line, lxmert_line, make_record

ROOT = Path(__file__).parents[3]


def convert(capsys, *arguments):
    """Run the command; return its exit status, its summary and what it said."""
    status = main(["convert", *map(str, arguments), "--json"])
    said = capsys.readouterr()
    summary = json.loads(said.out.splitlines()[-1]) if said.out else {}
    return status, summary, said.out + said.err


def write(tmp_path, *lines):
    path = tmp_path / "features.tsv"
    path.write_bytes(b"".join(lines))
    return path


def failures(folder):
    return {each.image_id: each for entry in read_manifest(folder).shards for each in entry.failures}


def test_the_options_are_those_of_the_tables():
    assert set(get_args(SourceFormat)) == {"auto", *FORMATS}
    assert set(get_args(TargetFormat)) == {*STORES, *WRITERS}


@pytest.mark.parametrize("store", STORES)
def test_features_become_a_store_like_any_other(tmp_path, capsys, store):
    source = write(tmp_path, *(lxmert_line(name) for name in (b"b", b"c", b"a")))
    out = tmp_path / "regions"
    status, summary, said = convert(capsys, "--source", source, "--to", store, "--out", out, "--shard-size", 2)
    assert status == 0
    assert f"{source} is lxmert-tsv" in said
    assert (summary["num_images"], summary["num_shards"], summary["source_format"]) == (3, 2, "lxmert-tsv")
    assert summary["max_rounding_error"] == pytest.approx(2.44e-5, rel=0.01)
    assert verify(out).damages == ()
    with open_store(out) as records:
        assert list(records.image_ids) == ["b", "c", "a"]
        assert records.get("a").class_ids.tolist() == [72, 1599]
    manifest = read_manifest(out)
    assert manifest.store == store
    assert [entry.max_rounding_error for entry in manifest.shards] == [summary["max_rounding_error"]] * 2
    assert manifest.configuration["imported"]["format"] == "lxmert-tsv"
    assert manifest.configuration["imported"]["source"]["bytes"] == source.stat().st_size
    detector = manifest.configuration["detector"]
    assert detector["conventions"]["class_background"].endswith("removed from class_ids")
    assert detector["conventions"]["box_regression"] == "unknown"
    assert detector["vocabulary"]["classes"][72] == "class 0072"
    assert main(["inspect", str(out), "--out", str(tmp_path / "page.html")]) == 0
    page = (tmp_path / "page.html").read_text()
    assert "the features were imported without their pictures" in page
    assert "import from lxmert-tsv" in page


def test_a_run_again_does_nothing_and_can_bring_the_pictures(tmp_path, capsys):
    out = tmp_path / "regions"
    arguments = ("--source", write(tmp_path, lxmert_line(b"a")), "--out", out)
    convert(capsys, *arguments)
    before = (out / "manifest.json").read_bytes()
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"")
    status, summary, _ = convert(capsys, *arguments, "--images", tmp_path / "photos")
    assert (status, summary["num_shards_made"], summary["num_pictures"]) == (0, 0, 1)
    assert (out / "manifest.json").read_bytes() == before
    (shard,) = read_plan(out)
    assert shard.images[0].url == str(tmp_path / "photos/a.jpg")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (("--box-regression", "raw"), "box_regression was 'unknown', this run has 'raw'"),
        (("--shard-size", 1), "shard_size was 512, this run has 1"),
    ],
)
def test_a_store_of_another_import_is_refused(tmp_path, capsys, changes, words):
    arguments = ("--source", write(tmp_path, lxmert_line(b"a")), "--out", tmp_path / "regions")
    convert(capsys, *arguments)
    status, _, said = convert(capsys, *arguments, *changes)
    assert status == 1
    assert words in said
    write(tmp_path, lxmert_line(b"b"))
    status, _, said = convert(capsys, *arguments)
    assert status == 1
    assert "imported.source.sha256 was" in said


def test_damaged_rows_go_to_quarantine_with_their_line(tmp_path, capsys):
    cut = lxmert_line(b"g")[:60]
    lines = (
        lxmert_line(b"a"),
        lxmert_line(b"b", features=b"%%%"),
        lxmert_line(b"a"),
        lxmert_line(b"c", features=base64_of([[1, 2]] * 2, "<f4")),
        b"no tabs\n",
        lxmert_line(b"d", num_boxes=b"36"),
        lxmert_line(b"e", boxes=base64_of([[0, 0, np.inf, 1]] * 2, "<f4")),
        lxmert_line(b"f"),
        cut,
    )
    source, out = write(tmp_path, *lines), tmp_path / "regions"
    status, summary, _ = convert(capsys, "--source", source, "--out", out)
    assert status == 3
    assert (summary["num_images"], summary["num_quarantined"]) == (2, 7)
    found = failures(out)
    assert {name: each.reason.split(";")[0] for name, each in found.items()} == {
        "b": "features is not base64 (Only base64 data is allowed)",
        "[line 3] a": "its image id is that of line 1 already",
        "c": "feature_dim is 2, expected 3 as in the first row",
        "[line 5]": "1 fields, expected 10",
        "d": "boxes has 32 bytes, expected 576, [36, 4] of float32",
        "e": "boxes hold inf, expected finite numbers",
        "g": f"{cut.count(9) + 1} fields, expected 10",
    }
    assert found["g"].reason.endswith("the file is cut short here")
    assert found["b"].location == f"{source}::line 2"
    assert {each.stage for each in found.values()} == {"read"}
    assert "features.tsv::line 9" in (out / "run.jsonl").read_text()
    assert verify(out).damages == ()
    with open_store(out) as records:
        assert list(records.image_ids) == ["a", "f"]
        with pytest.raises(KeyError, match=r"quarantine.*cut short"):
            records.get("g")


def test_a_file_without_one_good_row_is_an_error_and_leaves_nothing(tmp_path, capsys):
    source = write(tmp_path, lxmert_line(img_h=b"640", img_w=b"480"), lxmert_line(b"8", num_boxes=b"3"))
    status, _, said = convert(capsys, "--source", source, "--out", tmp_path / "regions")
    assert status == 1
    assert "not one row can be read" in said
    assert "line 1: box 1" in said
    assert not (tmp_path / "regions").exists()


def test_repair_says_that_convert_makes_a_shard_again_and_it_does(tmp_path, capsys):
    out = tmp_path / "regions"
    arguments = ("--source", write(tmp_path, lxmert_line(b"a"), lxmert_line(b"b")), "--out", out, "--shard-size", 1)
    convert(capsys, *arguments)
    whole = {path.name: path.read_bytes() for path in out.iterdir() if path.name != "run.jsonl"}
    (out / "shard-00001.arrow").write_bytes(b"damaged")
    (done,) = repair(out)
    assert done.outcome.endswith("vinculum convert makes it again")
    status, summary, _ = convert(capsys, *arguments)
    assert (status, summary["num_shards_made"]) == (0, 1)
    assert {path.name: path.read_bytes() for path in out.iterdir() if path.name != "run.jsonl"} == whole


def test_killed_and_run_again_the_bytes_are_the_same(tmp_path, capsys):
    features = np.random.default_rng(0).random((36, 64)).astype(np.float16)
    boxes = [[0, 0, 640, 480]] * 36
    source = tmp_path / "features.tsv"
    lxmert_tsv.write(source, (make_record(f"{each:03}", boxes=boxes, features=features) for each in range(400)))
    arguments = ["--source", str(source), "--shard-size", "1", "--out"]
    convert(capsys, *arguments, tmp_path / "undisturbed")
    out = tmp_path / "killed"
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "convert", *arguments, str(out)], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    manifest = out / "manifest.json"
    while not (manifest.exists() and "shard-00000" in manifest.read_text()) and process.poll() is None:
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    status, summary, _ = convert(capsys, *arguments, out)
    assert status == 0
    assert 0 < summary["num_shards_made"] < 400
    for path in sorted((tmp_path / "undisturbed").iterdir()):
        if path.name != "run.jsonl":
            assert (out / path.name).read_bytes() == path.read_bytes(), path.name
    assert verify(out).damages == ()


def test_vinvls_features_bring_their_names_and_take_their_sizes_from_a_file(tmp_path, capsys):
    source = test_vinvl_tsv.write(tmp_path, test_vinvl_tsv.found("zebra"))
    arguments = ("--source", source, "--out", tmp_path / "regions")
    status, _, said = convert(capsys, *arguments)
    assert status == 1
    assert "vinvl-tsv tells no image sizes" in said
    assert "--sizes FILE" in said
    (tmp_path / "test.hw.tsv").write_text('7\t[{"height": 480, "width": 640}]\n')
    assert convert(capsys, *arguments, "--sizes", tmp_path / "test.hw.tsv")[0] == 0
    configuration = read_manifest(tmp_path / "regions").configuration
    assert configuration["detector"]["vocabulary"]["classes"] == ["zebra"]
    assert configuration["imported"]["sizes"]["files"] == 1


def test_uniters_database_becomes_a_store_without_a_change_to_it(tmp_path, capsys):
    values = {b"nlvr2_dev-0-0-img%d.npz" % number: test_uniter_lmdb.as_msgpack() for number in range(3)}
    source = test_uniter_lmdb.write(tmp_path / "feat_th0.2_max100_min10", values)
    (tmp_path / "sizes.tsv").write_text("dev-0-0-img0\t640\t480\ndev-0-0-img1\t500\t375\n")
    arguments = ("--source", source, "--sizes", tmp_path / "sizes.tsv", "--out", tmp_path / "regions")
    status, summary, _ = convert(capsys, *arguments)
    assert (status, summary["num_images"], summary["max_rounding_error"]) == (3, 2, 0)
    (failure,) = failures(tmp_path / "regions").values()
    assert (failure.image_id, failure.reason[:21]) == ("dev-0-0-img2", "no size of this image")
    (source / "lock.mdb").write_bytes(b"somebody else reads it")
    before = (tmp_path / "regions/shard-00000.arrow").read_bytes()
    assert convert(capsys, *arguments)[1]["num_shards_made"] == 1  # what could not be read is tried by every run
    assert (tmp_path / "regions/shard-00000.arrow").read_bytes() == before


def test_a_given_vocabulary_names_the_classes(tmp_path, capsys):
    (tmp_path / "objects_vocab.txt").write_text("\n".join(f"thing {number}" for number in range(1600)))
    (tmp_path / "attributes_vocab.txt").write_text("red\nblue")
    source = write(tmp_path, lxmert_line(b"a"), lxmert_line(b"b", attrs_id=base64_of([0, 1], "<i8")))
    arguments = ("--source", source, "--out", tmp_path / "regions", "--vocabulary", tmp_path)
    assert convert(capsys, *arguments)[0] == 3
    assert failures(tmp_path / "regions")["a"].reason == "attribute id is 399, expected -1 to 1 as in the vocabulary"
    names = read_manifest(tmp_path / "regions").configuration["detector"]["vocabulary"]
    assert (names["classes"][72], names["attributes"]) == ("thing 72", ["red", "blue"])


def test_a_store_is_written_as_lxmerts_and_milvlgs_files(tmp_path, capsys):
    records = [make_record(name, boxes=[[0, 0, 1, 1]], features=[[0.5, 2]]) for name in ("a", "b")]
    make_store(tmp_path / "regions", [records[:1], records[1:]])
    status, summary, _ = convert(
        capsys, "--source", tmp_path / "regions", "--to", "lxmert-tsv", "--out", tmp_path / "new/features.tsv"
    )
    assert (status, summary["num_images"], summary["source_format"]) == (0, 2, "vinculum")
    lxmert_tsv.write(tmp_path / "expected.tsv", records)
    assert (tmp_path / "new/features.tsv").read_bytes() == (tmp_path / "expected.tsv").read_bytes()
    assert convert(capsys, "--source", tmp_path / "regions", "--to", "milvlg-npz", "--out", tmp_path / "npz")[0] == 0
    milvlg_npz.write(tmp_path / "expected", records)
    for name in ("a.npz", "b.npz"):
        assert (tmp_path / "npz" / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()


def test_what_a_killed_export_left_is_removed_and_nothing_else(tmp_path, capsys):
    make_store(tmp_path / "regions", [[make_regions("a", num_boxes=3)]])
    (tmp_path / "npz").mkdir()
    killed, others = ".x.tsv.0123456789abcdef.tmp", ".y.tsv.0123456789abcdef.tmp"
    for place in (tmp_path / killed, tmp_path / others, tmp_path / "npz/.b.npz.0123456789abcdef.tmp"):
        place.touch()
    assert convert(capsys, "--source", tmp_path / "regions", "--to", "lxmert-tsv", "--out", tmp_path / "x.tsv")[0] == 0
    assert convert(capsys, "--source", tmp_path / "regions", "--to", "milvlg-npz", "--out", tmp_path / "npz")[0] == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [others, "npz", "regions", "x.tsv"]
    assert [path.name for path in (tmp_path / "npz").iterdir()] == ["a.npz"]


def test_options_that_do_not_fit_the_source_are_refused(tmp_path, capsys):
    lxmert, butd = tmp_path / "lxmert.tsv", tmp_path / "butd.tsv"
    lxmert.write_bytes(lxmert_line())
    butd.write_bytes(butd_line())
    make_store(tmp_path / "regions", [[make_regions("a", num_boxes=3)]])
    (tmp_path / "sizes.tsv").write_text("7\t640\t480\n")
    for arguments, words in (
        ((lxmert, "--from", "butd-tsv"), "looks like lxmert-tsv, expected a file of six"),
        ((tmp_path / "absent", "--from", "butd-tsv"), "no such file or folder"),
        ((tmp_path / "absent",), "no such file or folder"),
        ((butd, "--to", "lxmert-tsv"), "is butd-tsv, --to lxmert-tsv needs a store"),
        ((butd, "--sizes", tmp_path / "sizes.tsv"), "has image sizes of its own"),
        ((butd, "--vocabulary", tmp_path), "holds none of objects_vocab.txt"),
        ((butd, "--shard-size", 0), "--shard-size is 0"),
        ((tmp_path / "sizes.tsv",), "features of no known format"),
        ((tmp_path / "regions",), "is a store already, expected --to lxmert-tsv or milvlg-npz"),
        ((tmp_path / "regions", "--to", "milvlg-npz", "--out", tmp_path / "regions"), "is a store, expected a place"),
    ):
        status, _, said = convert(capsys, "--out", tmp_path / "out", "--source", *arguments)
        assert status == 1
        assert words in said
        assert not (tmp_path / "out").exists()


def test_a_store_of_grids_is_not_written_as_regions(tmp_path, capsys):
    out = tmp_path / "grid"
    out.mkdir()
    STORES["arrow"].write_shard(
        out / "shard-00000.arrow", [make_grid("a")], content="grid", configuration=CONFIGURATION
    )
    make_store(tmp_path / "regions", [[make_regions("a", num_boxes=3)]])
    write_manifest(out, replace(read_manifest(tmp_path / "regions"), content="grid"))
    status, _, said = convert(capsys, "--source", out, "--to", "lxmert-tsv", "--out", tmp_path / "x.tsv")
    assert status == 1
    assert "is a store of grid, expected one of regions" in said


def test_it_is_said_whose_the_numbers_of_a_source_are_and_a_run_again_may_say_it_later(tmp_path, capsys):
    out = tmp_path / "regions"
    arguments = ("--source", write(tmp_path, butd_line(b"9"), butd_line(b"42")), "--out", out)
    _, _, said = convert(capsys, *arguments)
    assert "whose the numbers as ids are is not known, see --ids" in said
    assert read_manifest(out).notes == {}
    status, summary, said = convert(capsys, *arguments, "--ids", "coco")
    assert (status, summary["num_shards_made"]) == (0, 0)
    assert "numbers as ids are coco's" in said
    assert read_manifest(out).notes == {"ids": "coco"}
    convert(capsys, *arguments)
    assert read_manifest(out).notes == {"ids": "coco"}


def test_pictures_of_cocos_names_belong_to_cocos_numbers_and_to_no_others(tmp_path, capsys):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/COCO_val2014_000000000042.jpg").write_bytes(b"")
    source = write(tmp_path, butd_line(b"9"), butd_line(b"42"))
    for ids, num_pictures in (("coco", 1), ("visual-genome", 0)):
        arguments = ("--source", source, "--images", tmp_path / "photos", "--ids", ids, "--out", tmp_path / ids)
        assert convert(capsys, *arguments)[1]["num_pictures"] == num_pictures
    (shard,) = read_plan(tmp_path / "coco")
    assert [Path(image.url).name for image in shard.images] == ["COCO_val2014_000000000042.jpg", ""]


def test_uniters_names_tell_whose_their_numbers_are(tmp_path, capsys):
    keys = {b"vg_000002370000.npz": "2370000", b"vg_000000000007.npz": "7"}
    source = test_uniter_lmdb.write(tmp_path / "lmdb", dict.fromkeys(keys, test_uniter_lmdb.as_npz()))
    (tmp_path / "sizes.tsv").write_text("".join(f"{image_id}\t640\t480\n" for image_id in keys.values()))
    arguments = ("--source", source, "--sizes", tmp_path / "sizes.tsv", "--out", tmp_path / "regions")
    assert convert(capsys, *arguments)[0] == 0
    assert read_manifest(tmp_path / "regions").notes == {"ids": "visual-genome"}
    with open_store(tmp_path / "regions") as store:
        assert sorted(store.image_ids) == ["2370000", "7"]


def test_a_dry_run_tells_what_a_run_then_does_and_writes_nothing(tmp_path, capsys):
    source = write(tmp_path, *(lxmert_line(name) for name in (b"b", b"c", b"a")))
    before = sorted(tmp_path.iterdir())
    command = ["convert", "--source", str(source), "--out", str(tmp_path / "regions"), "--ids", "coco"]
    assert main([*command, "--dry-run", "--json"]) == 0
    line, last = capsys.readouterr().out.splitlines()
    assert sorted(tmp_path.iterdir()) == before
    assert "would be made, about" in line and line.endswith("nothing was written")
    outlook = json.loads(last)
    assert main([*command, "--json"]) == 0
    made = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert outlook["num_images_left"] == made["num_images"] > 0
    assert outlook["num_shards_left"] == made["num_shards"] == 1
    assert outlook["num_bytes_left"] > 0
    assert main([*command, "--dry-run"]) == 0
    assert "nothing to do" in capsys.readouterr().out
    export = ["convert", "--source", str(tmp_path / "regions"), "--to", "lxmert-tsv", "--out", str(tmp_path / "x.tsv")]
    assert main([*export, "--dry-run"]) == 0
    assert f"{made['num_images']} images in 1 shards would be made" in capsys.readouterr().out
    assert not (tmp_path / "x.tsv").exists()
