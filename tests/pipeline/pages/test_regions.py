import hashlib
import json
import re
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from detectors.records import GridFeatures, RegionFeatures
from pipeline.pages.regions import write_page
from pipeline.run_log import ShardTiming, merge_shards, read_runs
from stores.catalog import STORES
from stores.errors import StoreError
from stores.images.sources import ImageSource
from stores.manifest import FailedImage, Manifest, describe_shard, write_manifest
from stores.plan import PLAN_NAME, Plan, write_plan

CHROMIUM = shutil.which("chromium")
HOSTILE = '"><script>document.title="owned"</script><img src=x onerror="document.title=`owned`">&amp;\'{{7*7}}</script>'
STAGE_SECONDS = {
    "read_seconds": 0.5,
    "decode_seconds": 1.0,
    "wait_seconds": 0.5,
    "detect_seconds": 3.0,
    "write_seconds": 0.5,
}

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH to show the page")


class Elements(HTMLParser):
    """Every start tag of a page, as (tag, attributes)."""

    def __init__(self, html):
        super().__init__()
        self.found = []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def of(self, tag, css_class=None):
        return [
            attributes
            for name, attributes in self.found
            if name == tag and (css_class is None or css_class in (attributes.get("class") or "").split())
        ]


def regions_of(image_id, *, num_boxes=36, width=640, height=480):
    along = np.linspace(0, 0.5, num_boxes, dtype=np.float32)
    boxes = np.stack([along * width, along * height, (along + 0.4) * width, (along + 0.4) * height], axis=1)
    return RegionFeatures(
        image_id=image_id,
        image_width=width,
        image_height=height,
        boxes_xyxy=boxes,
        features=np.zeros((num_boxes, 4), np.float16),
        class_ids=(np.arange(num_boxes) % 2).astype(np.int32),
        class_scores=np.linspace(0.95, 0.05, num_boxes, dtype=np.float32),
        attribute_ids=np.zeros(num_boxes, np.int32),
        attribute_scores=np.full(num_boxes, 0.5, np.float32),
        selection="relaxed-0.4",
    )


def grid_of(image_id):
    features = np.ones((2, 3, 4), np.float16)
    features[1, 2] = 5  # norm 10, the others 2
    return GridFeatures(image_id=image_id, image_width=60, image_height=40, features=features)


def make_store(folder, records, *, failures=(), content="regions", classes=("dog", "tree"), locate="{}.jpg"):
    """Write a store of one shard; `locate` makes an image's path from its id."""
    folder.mkdir()
    configuration = {
        "detector": {
            "name": "faster-rcnn" if content == "regions" else "swin",
            "precision": "float32",
            "weights": {"name": "toyworld", "sha256": "c8392371" * 8},
            "conventions": {"channel_order": "bgr"},
        }
    }
    if content == "regions":
        configuration["detector"]["vocabulary"] = {"classes": list(classes), "attributes": ["striped"]}
    path = folder / f"shard-00000{STORES['arrow'].suffix}"
    rows = STORES["arrow"].write_shard(path, records, content=content, configuration=configuration)
    images = tuple(ImageSource(each.image_id, locate.format(each.image_id)) for each in records)
    write_plan(folder, Plan.of_shards([images]))
    entry = describe_shard(path, rows, failures)
    write_manifest(folder, Manifest(content=content, store="arrow", configuration=configuration, shards=(entry,)))
    return folder


def write_events(folder, *events):
    lines = [json.dumps({"event": event, "time": time, **fields}) for event, time, fields in events]
    (folder / "run.jsonl").write_text("\n".join(lines) + "\n")


def page_of(store, num_images=24):
    page = store.parent / "page.html"
    summary = write_page(store, page, num_images=num_images)
    return summary, page.read_text(encoding="utf-8")


def shown_in_chromium(page, profile):
    """Return the page's document as it is after its scripts ran."""
    command = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    command += ["--disable-component-update", "--disable-sync", "--no-first-run", f"--user-data-dir={profile}"]
    command += ["--dump-dom", page.absolute().as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout


@pytest.fixture
def photographs(tmp_path):
    """Three pictures a, b, c of 640 x 480."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number, name in enumerate("abc"):
        Image.new("RGB", (640, 480), (80 * number, 90, 120)).save(folder / f"{name}.jpg")
    return folder


@pytest.fixture
def store(tmp_path, photographs):
    """Pictures a, b, c with 36 regions each; three images in quarantine; a killed run and one that finished."""
    failures = [
        FailedImage(image_id="x", location="/p/x.jpg", stage="decode", reason="truncated JPEG (7 bytes missing)"),
        FailedImage(image_id="y", location="/p/y.jpg", stage="decode", reason="truncated JPEG (31 bytes missing)"),
        FailedImage(image_id="z", location="/p/z.jpg", stage="read", reason="permission denied"),
    ]
    folder = make_store(
        tmp_path / "store", [regions_of(name) for name in "abc"], failures=failures, locate=f"{photographs}/{{}}.jpg"
    )
    write_events(
        folder,
        ("start", 1000.0, {"crew": {"workers": 2}}),
        ("shard", 1010.0, {"images": 20, **STAGE_SECONDS}),
        ("start", 9000.0, {"crew": {"workers": 1}}),
        ("notice", 9001.0, {"text": "waiting for a GPU"}),
        ("shard", 9010.0, {"images": 42, "failed": 2, **STAGE_SECONDS}),
        ("end", 9012.0, {}),
    )
    return folder


def test_the_page_has_every_picture_with_all_its_boxes_and_asks_for_nothing_outside(store):
    summary, html = page_of(store)
    assert (summary.num_images, summary.num_quarantined) == (3, 3)
    page = Elements(html)
    assert len(page.of("figure")) == 3
    assert len(page.of("g", "region")) == 3 * 36
    assert len(page.of("g", "beyond-10")) == 3 * 26
    assert [image["src"][:23] for image in page.of("img")] == ["data:image/jpeg;base64,"] * 3
    assert not page.of("link")
    references = [
        value for _, attributes in page.found for name, value in attributes.items() if name in ("src", "href")
    ]
    assert all(value.startswith("data:") for value in references)
    assert not re.search(r"url\(|@import|https?://", html)


def test_a_box_is_drawn_where_the_record_has_it_in_per_cent_of_the_picture(tmp_path):
    record = regions_of("a", num_boxes=1)
    record.boxes_xyxy[0] = (64, 120, 320, 480)
    _, html = page_of(make_store(tmp_path / "store", [record]))
    [_, rectangle] = [each for each in Elements(html).of("rect") if "height" in each and each.get("width") == "40.00"]
    assert (rectangle["x"], rectangle["y"], rectangle["height"]) == ("10.00", "25.00", "75.00")


def test_pictures_are_spread_evenly_over_the_store(tmp_path):
    store = make_store(tmp_path / "store", [regions_of(f"{number:02}", num_boxes=1) for number in range(20)])
    summary, html = page_of(store, num_images=4)
    assert summary.num_images == 4
    assert re.findall(r'<figcaption><span class="name" title="[^"]*">(\d\d)</span>', html) == ["02", "07", "12", "17"]


def test_the_boxes_of_a_picture_that_is_gone_or_changed_stand_without_it_and_the_page_says_so(tmp_path, photographs):
    Image.new("RGB", (100, 100)).save(photographs / "b.jpg")
    (photographs / "c.jpg").write_bytes(b"no picture")
    store = make_store(tmp_path / "store", [regions_of(name) for name in "abcd"], locate=f"{photographs}/{{}}.jpg")
    _, html = page_of(store)
    assert len(Elements(html).of("img")) == 1
    assert len(Elements(html).of("g", "region")) == 4 * 36
    assert "the picture has changed: it is 100 x 100 now, was 640 x 480" in html
    assert "can no longer be read: not an image: begins with" in html
    assert "No such file" in html
    (store / PLAN_NAME).unlink()
    _, html = page_of(store)
    assert not Elements(html).of("img")
    assert html.count("nothing tells where the picture is") == 4


def test_old_boxes_are_not_drawn_on_another_picture_of_the_same_size(tmp_path, photographs):
    digests = {name: hashlib.sha256((photographs / f"{name}.jpg").read_bytes()).digest() for name in "ab"}
    records = [replace(regions_of(name), image_sha256=digest) for name, digest in digests.items()]
    store = make_store(tmp_path / "store", records, locate=f"{photographs}/{{}}.jpg")
    assert len(Elements(page_of(store)[1]).of("img")) == 2
    Image.new("RGB", (640, 480), "navy").save(photographs / "b.jpg")
    _, html = page_of(store)
    assert len(Elements(html).of("img")) == 1
    assert "the picture has changed: its file is not the one that the store was made from" in html


def test_a_large_photograph_becomes_a_small_upright_one(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turn right to be upright
    noise = np.random.default_rng(0).integers(0, 256, (750, 1000, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "a.jpg", exif=exif)
    store = make_store(tmp_path / "store", [regions_of("a", width=750, height=1000)], locate=f"{tmp_path}/{{}}.jpg")
    _, html = page_of(store)
    assert "has changed" not in html
    assert len(Elements(html).of("img")) == 1
    assert len(html) < 600_000  # of noise, the worst there is


def test_quarantine_names_every_image_and_counts_alike_reasons_together(store):
    _, html = page_of(store)
    groups = Counter(row["data-group"] for row in Elements(html).of("tr") if "data-group" in row)
    assert groups == {"decode: truncated JPEG (# bytes missing)": 2, "read: permission denied": 1}
    assert "<b>2</b>decode: truncated JPEG (# bytes missing)" in html
    assert "/p/z.jpg" in html


def test_a_grid_store_shows_the_norm_of_every_cell_as_heat(tmp_path):
    _, html = page_of(make_store(tmp_path / "store", [grid_of("a")], content="grid"))
    cells = Elements(html).of("rect", "cell")
    assert [cell["fill"] for cell in cells] == ["#2c105c"] * 5 + ["#fcfdbf"]
    assert "row 1, column 2: 10.00" in html


def test_an_empty_store_and_one_without_a_run_log_have_a_page(tmp_path):
    summary, html = page_of(make_store(tmp_path / "store", []))
    assert summary.num_images == 0
    assert "The store has no picture yet." in html
    assert "The store has no run.jsonl." in html


def test_what_is_no_store_is_refused_and_no_page_is_left(tmp_path):
    with pytest.raises(StoreError, match=r"manifest\.json"):
        write_page(tmp_path, tmp_path / "page.html", num_images=1)
    assert not list(tmp_path.iterdir())


def test_hostile_ids_names_and_reasons_are_text_and_nothing_else(tmp_path):
    failure = FailedImage(image_id=HOSTILE + "\udc80", location=HOSTILE, stage="decode", reason=HOSTILE)
    store = make_store(tmp_path / "store", [regions_of(HOSTILE)], failures=[failure], classes=(HOSTILE, HOSTILE + "2"))
    write_events(store, ("start", 1.0, {"command": [HOSTILE]}), ("notice", 2.0, {"text": HOSTILE}))
    _, html = page_of(store)
    page = Elements(html)
    assert len(page.of("script")) == 1
    assert not page.of("img")
    assert not [name for _, attributes in page.found for name in attributes if name.startswith("on")]
    assert "{{7*7}}" in html
    assert "\\udc80" in html


def test_runs_are_told_apart_and_a_line_cut_short_is_passed_over(store):
    with (store / "run.jsonl").open("a") as file:
        file.write('{"event": "shard", "time": 90')
    killed, finished = read_runs(store / "run.jsonl")
    assert (killed.finished, killed.num_workers, killed.num_images, killed.images_per_second) == (False, 2, 20, 2.0)
    assert (finished.finished, finished.num_workers, finished.num_images) == (True, 1, 42)
    assert finished.images_per_second == 4.0  # 40 of the 42 were detected, in 10 s
    assert finished.shards[0].images_per_second == 10.0  # 40 detected in wait 0.5, detect 3 and write 0.5
    assert finished.notices == ("waiting for a GPU",)


def test_the_plot_marks_every_start_and_stacks_five_stages_a_shard(store):
    _, html = page_of(store)
    page = Elements(html)
    assert [mark["x1"] for mark in page.of("line", "mark")] == ["0.0", "500.0"]
    assert len(page.of("path", "point")) == 2
    assert [len(page.of("rect", f"stage-{stage}")) for stage in ("read", "decode", "wait", "detect", "write")] == [
        2
    ] * 5
    assert "detect: 150.0 ms an image" in html  # 3 s over 20 images
    assert "no end: killed, or at work" in html


def test_many_shards_share_points_and_lose_no_image():
    shards = [
        ShardTiming(
            finished_seconds=float(number),
            num_images=3,
            num_failed=1,
            stage_seconds=dict.fromkeys(("read", "decode", "wait", "detect", "write"), 1.0),
        )
        for number in range(1000)
    ]
    merged = merge_shards(shards, 150)
    assert len(merged) == 143
    assert sum(each.num_images for each in merged) == 3000
    assert sum(each.num_failed for each in merged) == 1000
    assert merged[0].stage_seconds["detect"] == 7.0
    assert merged[-1].finished_seconds == 999.0


@needs_chromium
def test_chromium_shows_the_page_with_its_tags_placed_and_the_quarantine_counted(store, tmp_path):
    page_of(store)
    shown = Elements(shown_in_chromium(tmp_path / "page.html", tmp_path / "profile"))
    assert len(shown.of("figure")) == 3
    assert len(shown.of("li")) == 3 * 36
    tags = shown.of("span", "tag")
    placed = [tag for tag in tags if "crowded" not in tag["class"].split()]
    assert 3 <= len(placed) <= 3 * 10
    assert "0" in {tag["data-region"] for tag in placed}


@needs_chromium
def test_chromium_runs_nothing_that_a_hostile_name_brings(tmp_path):
    failure = FailedImage(image_id=HOSTILE, location=HOSTILE, stage="read", reason=HOSTILE)
    store = make_store(tmp_path / "store", [regions_of(HOSTILE)], failures=[failure], classes=(HOSTILE, HOSTILE + "2"))
    page_of(store)
    document = shown_in_chromium(tmp_path / "page.html", tmp_path / "profile")
    assert "<title>store · vinculum</title>" in document
    assert len(Elements(document).of("script")) == 1
    assert re.search(r'id="num-listed">1<', document)  # the page's own script did run
