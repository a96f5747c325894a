"""The page, written from real stores and opened in a real browser."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from detectors.records import GridFeatures, RegionFeatures
from pipeline.inspect import write_page
from pipeline.run_history import read_runs
from stores.catalog import STORES
from stores.manifest import FailedImage, Manifest, describe_shard, write_manifest
from stores.plan import ImageSource, PlannedShard, write_plan

HOSTILE = "<script>document.title='taken'</script>"
DETECTOR = {
    "name": "faster-rcnn",
    "weights": {"name": "test"},
    "precision": "float32",
    "vocabulary": {"classes": ["cat,kitty", HOSTILE], "attributes": ["red", "striped"]},
}


def regions(image_id):
    return RegionFeatures(
        image_id=image_id,
        image_width=64,
        image_height=48,
        boxes_xyxy=np.array([[1, 2, 30, 40], [5, 5, 60, 45]], np.float32),
        features=np.ones((2, 4), np.float16),
        class_ids=np.array([0, 1], np.int32),
        class_scores=np.array([0.9, 0.4], np.float32),
        attribute_ids=np.array([0, 1], np.int32),
        attribute_scores=np.array([0.8, 0.3], np.float32),
        selection="relaxed-0.4",
    )


def make_store(folder, records, detector=DETECTOR, content="regions", failures=()):
    folder.mkdir()
    sources = []
    for record in records:
        path = folder.parent / f"{len(sources)}.png"
        Image.new("RGB", (64, 48), "teal").save(path)
        sources.append(ImageSource(record.image_id, str(path)))
    configuration = {"detector": detector}
    path = folder / "shard-00000.arrow"
    rows = STORES["arrow"].write_shard(path, records, content=content, configuration=configuration)
    entry = describe_shard(path, rows, failures)
    write_manifest(folder, Manifest(content=content, store="arrow", configuration=configuration, shards=(entry,)))
    failed = [ImageSource(each.image_id, each.location) for each in failures]
    write_plan(folder, [PlannedShard("shard-00000", tuple(sources + failed))])
    return folder


def browse(page, tmp_path, *options):
    if shutil.which("chromium") is None:
        pytest.skip("chromium is not installed")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--disable-component-update", "--disable-sync", "--no-first-run", f"--user-data-dir={tmp_path}/profile"]
    done = subprocess.run([*command, *options, page.as_uri()], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout


def test_the_page_shows_pictures_quarantine_and_numbers_and_runs_nothing_it_was_given(tmp_path):
    failures = [FailedImage(image_id=f"bad {HOSTILE}", location="/photos/<b>x</b>.jpg", stage="decode", reason=HOSTILE)]
    store = make_store(tmp_path / "store", [regions("<i>a</i>"), regions("b")], failures=failures)
    summary = write_page(store, tmp_path / "page.html", num_images=24)
    assert (summary.num_images, summary.num_pictures, summary.num_quarantined) == (2, 2, 1)
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert HOSTILE not in html
    assert "http" not in html.replace("&lt;", "")
    dom = browse(tmp_path / "page.html", tmp_path, "--dump-dom")
    assert "<title>store · vinculum</title>" in dom
    assert dom.count("<figure>") == 2
    assert dom.count('class="region"') == 4
    assert "1 at decode" in dom and "relaxed-0.4" in dom and "&lt;i&gt;a&lt;/i&gt;" in dom


def test_pointing_at_a_row_lights_its_box(tmp_path):
    store = make_store(tmp_path / "store", [regions("a")])
    page = tmp_path / "page.html"
    write_page(store, page, num_images=1)
    probe = (
        "<script>document.querySelector('tr[data-rank=\"1\"]').dispatchEvent("
        "new PointerEvent('pointerover', {bubbles: true}))</script></html>"
    )
    page.write_text(page.read_text(encoding="utf-8").replace("</html>", probe), encoding="utf-8")
    assert '<g class="region on" data-rank="1"' in browse(page, tmp_path, "--dump-dom")


def test_a_picture_that_is_gone_is_told_and_its_boxes_stay(tmp_path):
    store = make_store(tmp_path / "store", [regions("a")])
    (tmp_path / "0.png").unlink()
    write_page(store, tmp_path / "page.html", num_images=1)
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "can not be shown any more" in html and html.count('<g class="region"') == 2


def test_a_grid_is_shown_as_cells_over_the_picture(tmp_path):
    grid = GridFeatures(
        image_id="a",
        image_width=64,
        image_height=48,
        features=np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float16),
    )
    store = make_store(
        tmp_path / "store", [grid], detector={"name": "swin", "weights": {"name": "test"}}, content="grid"
    )
    write_page(store, tmp_path / "page.html", num_images=1)
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert html.count("fill-opacity") == 12 and "3 x 4 cells" in html


def test_an_empty_store_has_a_page_too(tmp_path):
    write_page(make_store(tmp_path / "store", []), tmp_path / "page.html", num_images=24)
    assert "There is no run.jsonl" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_runs_are_read_back_with_a_line_that_a_kill_cut_short(tmp_path):
    shard = {"event": "shard", "time": 12.0, "shard": "shard-00000.arrow", "images": 4, "seconds": 2.0, "failed": 0}
    events = [{"event": "start", "time": 9.0}, shard, {"event": "notice", "time": 12.5, "text": "worker 0 died"}]
    lines = [json.dumps(event) for event in events] + ['{"event": "sha']
    lines += [json.dumps({"event": "start", "time": 20.0}), json.dumps({"event": "end", "time": 21.0})]
    (tmp_path / "run.jsonl").write_text("\n".join(lines) + "\n")
    first, second = read_runs(tmp_path)
    assert (len(first.shards), first.ended, first.notices) == (1, None, ["worker 0 died"])
    assert (second.shards, second.ended) == ([], 21.0)
