"""`vinculum extract` as it stands: eight toy pictures from everywhere, one small Ray cluster for all runs."""

import contextlib
import io
import json
import shutil
import tarfile

import numpy as np
import pytest
from PIL import Image
from ray.cluster_utils import Cluster

from annotations.toyworld.world import write_toy_world
from pipeline.cli import main
from stores.manifest import read_manifest
from stores.reading import open_store
from tests.stores.builders import assert_same

IDS = [*(f"nested-{number}" for number in (1, 2, 3, 4)), *(f"packed-{number}" for number in (1, 2, 3)), "listed-é"]
GIVEN = {image_id: [[5, 5, 5, 5], [10.5, 20, 110, 90]][: i % 3] for i, image_id in enumerate(IDS)}


@pytest.fixture(scope="module")
def address():
    """A cluster of two cores that ends with the tests."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield cluster.address
    cluster.shutdown()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Eight pictures as nested folders, a tar and a list, and two more for later."""
    place = tmp_path_factory.mktemp("extract")
    write_toy_world(place / "world", num_images=10, seed=0)
    pictures = iter(sorted((place / "world/images").iterdir()))
    for name in ("nested/deep/er/nested-1", "nested/deep/nested-2", "nested/nested-3", "nested/z/nested-4"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        next(pictures).rename(place / f"{name}.jpg")
    with tarfile.open(place / "packed.tar", "w") as archive:
        for number in (1, 2, 3):
            archive.add(next(pictures), f"some/folder/packed-{number}.jpg")
    (place / "list.tsv").write_text(f"listed-é\t{next(pictures).relative_to(place)}\n", encoding="utf-8")
    (place / "more").mkdir()
    next(pictures).rename(place / "more/a-new.jpg")
    next(pictures).rename(place / "more/z-new.jpg")
    (place / "boxes.json").write_text(json.dumps(GIVEN))
    return place


@pytest.fixture(scope="module")
def inputs(place):
    return [str(place / "nested"), str(place / "packed.tar"), str(place / "list.tsv")]


@pytest.fixture(scope="module")
def extract(place, address):
    """Run `vinculum extract` into a store of `place`; return status, output and errors."""

    def extract(images, store, *more, weights="toyworld"):
        arguments = ["extract", "--images", *images, "--out", str(place / store), "--weights", weights]
        options = ["--shard-size", "3", "--address", address, "--json", *map(str, more)]
        with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
            status = main([*arguments, *options])
        return status, out.getvalue(), err.getvalue()

    return extract


@pytest.fixture(scope="module")
def base(place, inputs, extract):
    """The store that the others are held against, made by one worker; and what its run printed."""
    status, out, err = extract(inputs, "base", "--workers", 1, "--cpus-per-worker", 1)
    assert status == 0, err
    return place / "base", out


def rows_of(folder):
    with open_store(folder) as store:
        return {record.image_id: record for record in store}


def bytes_of(folder):
    """Return every file's bytes but the log of runs, which grows."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "run.jsonl"}


def test_folders_archives_and_lists_make_one_store_of_36_regions_each(base):
    folder, _ = base
    rows = rows_of(folder)
    assert list(rows) == sorted(IDS, key=str.encode)
    assert {row.features.shape for row in rows.values()} == {(36, 2048)}
    assert [entry.rows for entry in read_manifest(folder).shards] == [3, 3, 2]


def test_the_summary_is_the_last_line_and_counts_what_was_done(base):
    folder, out = base
    told, summary = out.splitlines()[0], json.loads(out.splitlines()[-1])
    assert summary.pop("images_per_second") > 0
    assert summary == {
        "out": str(folder),
        "num_images": 8,
        "num_quarantined": 0,
        "first_quarantined": None,
        "num_unread": 0,
        "num_shards": 3,
        "num_shards_made": 3,
        "num_images_done": 8,
        "passed_over": {},
        "num_replaced": 0,
        "remarks": [],
    }
    assert "8 images in 3 shards" in told


def test_two_workers_write_the_same_bytes_as_one(base, place, inputs, extract):
    status, _, err = extract(inputs, "two", "--workers", 2, "--cpus-per-worker", 1)
    assert status == 0, err
    assert bytes_of(place / "two") == bytes_of(base[0])


def test_a_second_run_does_nothing_and_says_so(base, inputs, extract):
    before = bytes_of(base[0])
    status, out, err = extract(inputs, "base")
    assert status == 0, err
    summary = json.loads(out.splitlines()[-1])
    assert (summary["num_shards_made"], summary["num_images_done"], summary["num_images"]) == (0, 0, 8)
    assert "nothing to do" in out
    assert bytes_of(base[0]) == before


def test_more_images_are_appended_and_the_shards_there_are_stay(base, place, inputs, extract):
    shutil.copytree(base[0], place / "grown")
    status, out, err = extract([*inputs, str(place / "more")], "grown")
    assert status == 0, err
    assert json.loads(out.splitlines()[-1])["num_shards_made"] == 1
    before, after = bytes_of(base[0]), bytes_of(place / "grown")
    assert after.keys() - before.keys() == {"shard-00003.arrow"}
    assert all(after[name] == before[name] for name in before if name.startswith("shard-"))
    assert list(rows_of(place / "grown"))[-2:] == ["a-new", "z-new"]


def test_the_kind_of_store_does_not_change_what_is_in_it(base, place, inputs, extract):
    status, _, err = extract(inputs, "lmdb", "--store", "lmdb")
    assert status == 0, err
    assert (place / "lmdb/shard-00000.lmdb").is_file()
    expected, found = rows_of(base[0]), rows_of(place / "lmdb")
    assert list(found) == list(expected)
    for image_id, row in expected.items():
        assert_same(found[image_id], row)


def test_a_batch_of_several_gives_what_each_gives_alone(base, place, inputs, extract):
    status, _, err = extract(inputs, "batched", "--batch-size", 4, "--shard-size", 8)
    assert status == 0, err
    found = rows_of(place / "batched")
    for image_id, row in rows_of(base[0]).items():
        np.testing.assert_allclose(found[image_id].boxes_xyxy, row.boxes_xyxy, atol=1e-3, err_msg=image_id)
        np.testing.assert_array_equal(found[image_id].class_ids, row.class_ids)
        np.testing.assert_allclose(
            found[image_id].features.astype(np.float32), row.features.astype(np.float32), rtol=2e-3, atol=2e-3
        )


def test_given_boxes_are_the_regions(place, inputs, extract):
    status, _, err = extract(inputs, "given", "--boxes", place / "boxes.json")
    assert status == 0, err
    for image_id, row in rows_of(place / "given").items():
        np.testing.assert_array_equal(row.boxes_xyxy, np.array(GIVEN[image_id], np.float32).reshape(-1, 4))
        assert (row.features.shape, row.selection) == ((len(GIVEN[image_id]), 2048), "given")
        assert np.isfinite(row.features).all()


def test_a_range_of_boxes_and_a_convention_are_obeyed_and_recorded(base, place, inputs, extract):
    conventions = ("--convention", "boxes=raw", "confidence=0.3")
    status, _, err = extract(inputs, "ranged", "--min-boxes", 10, "--max-boxes", 100, *conventions)
    assert status == 0, err
    counts = [row.num_boxes for row in rows_of(place / "ranged").values()]
    assert 10 <= min(counts) < 36
    assert max(counts) <= 100
    detector = read_manifest(place / "ranged").configuration["detector"]
    assert (detector["min_boxes"], detector["max_boxes"]) == (10, 100)
    assert (detector["conventions"]["boxes"], detector["conventions"]["confidence"]) == ("raw", 0.3)
    assert read_manifest(base[0]).configuration["detector"]["conventions"]["boxes"] == "regressed"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--convention", "boxes=raw"), "conventions.boxes was 'regressed', this run has 'raw'"),
        (("--num-boxes", 20), "min_boxes was 36, this run has 20"),
        (("--store", "lmdb"), "store was 'arrow', this run has 'lmdb'"),
    ],
)
def test_other_options_into_a_store_are_refused_with_both_values(base, inputs, extract, options, told):
    before = bytes_of(base[0])
    status, out, err = extract(inputs, "base", *options)
    assert status == 1
    assert told in json.loads(out)["error"]
    assert told in err
    assert "new --out" in err
    assert bytes_of(base[0]) == before


def test_other_weights_into_a_store_are_refused_with_both_values(base, inputs, extract):
    before = bytes_of(base[0])
    status, _, err = extract(inputs, "base", weights="random:0")
    assert status == 1
    assert "weights.name was 'toyworld', this run has 'random:0'" in err
    assert bytes_of(base[0]) == before


def test_another_file_of_one_id_is_refused_and_nothing_changes(base, place, extract):
    (place / "twin").mkdir()
    Image.new("RGB", (64, 48)).save(place / "twin/nested-3.jpg")
    before = bytes_of(base[0])
    status, _, err = extract([str(place / "twin")], "base")
    assert status == 1
    assert str(place / "nested/nested-3.jpg") in err
    assert str(place / "twin/nested-3.jpg") in err
    assert bytes_of(base[0]) == before


def test_a_picture_replaced_under_its_name_is_refused_or_made_anew_as_by_a_fresh_run(place, extract):
    photos = place / "replaced"
    shutil.copytree(place / "more", photos)
    (photos / "notes.md").write_text("no image")
    one = ("--workers", 1, "--cpus-per-worker", 1)
    assert extract([str(photos)], "changed", *one)[0] == 0
    shutil.copy(place / "nested/nested-3.jpg", photos / "a-new.jpg")
    before = bytes_of(place / "changed")
    status, _, err = extract([str(photos)], "changed", *one)
    assert status == 1
    assert "1 of its images are other files now: 'a-new' (" in err
    assert "use --changed redo to make their features anew, or a new --out" in err
    assert bytes_of(place / "changed") == before
    status, out, err = extract([str(photos)], "changed", *one, "--changed", "redo", "--shard-size", 1)
    assert status == 0, err
    assert json.loads(out.splitlines()[-1])["num_images_done"] == 1
    told = out.splitlines()[0]
    assert "1 files passed over (1 .md)" in told
    assert "--shard-size 1: the store's shards keep their 2 images" in told
    assert extract([str(photos)], "fresh", *one)[0] == 0  # a new --out
    assert bytes_of(place / "changed") == bytes_of(place / "fresh")
    assert extract([str(photos)], "changed", *one)[0] == 0


def test_swin_gives_a_grid_and_its_attention(place, extract):
    options = ("--detector", "swin", "--image-size", 224, "--keep-attention", "--precision", "float32")
    status, _, err = extract([str(place / "more")], "grid", *options, weights="random:0")
    assert status == 0, err
    assert read_manifest(place / "grid").content == "grid"
    rows = rows_of(place / "grid")
    assert list(rows) == ["a-new", "z-new"]
    for row in rows.values():
        assert (row.features.dtype, row.features.shape) == (np.float16, (7, 7, 768))
        assert row.attention.shape == (24, 49, 49)
        np.testing.assert_allclose(row.attention.astype(np.float32).sum(axis=2), 1, atol=5e-3)
