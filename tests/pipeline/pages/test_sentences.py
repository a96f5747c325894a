"""The page about sentences, in a real browser: a word lights up its regions; nothing in a caption becomes markup."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from annotations.alignment.sentences import AlignedSentences, PointedWords
from annotations.alignment.targets import combine
from annotations.records import Answer, Pointer, Sentence, SentenceImage
from detectors.records import RegionFeatures
from pipeline.cli import main
from stores.catalog import STORES
from stores.images.sources import ImageSource
from stores.manifest import DropCount, Manifest, ShardEntry, describe_shard, fingerprint, read_manifest, write_manifest
from stores.plan import Plan, write_plan

CHROMIUM = shutil.which("chromium")
HOSTILE = (
    '<img src=x onerror="document.title=`owned`"></script><script>document.title="owned"</script>&amp;\u2028{{7*7}}'
)
CONFIGURATION = {"detector": {"vocabulary": {"classes": ["dog", "tree,oak", HOSTILE], "attributes": ["brown"]}}}
SENTENCES = {"regions": {"fingerprint": fingerprint(CONFIGURATION)}, "note": HOSTILE}
BOXES = [[10, 10, 60, 60], [40, 40, 90, 90], [100, 20, 180, 95]]
POSITION = [[1.0, 0.1, 0.0], [0.0, 0.2, 0.9]]
SEMANTIC = [[0.9, 0.1, 0.0], [0.8, 0.1, 0.0]]

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH to show the page")


def make_regions(folder):
    folder.mkdir()
    Image.new("RGB", (200, 100), (120, 160, 90)).save(folder / "a.png")
    record = RegionFeatures(
        image_id="a",
        image_width=200,
        image_height=100,
        boxes_xyxy=np.array(BOXES, np.float32),
        features=np.zeros((3, 4), np.float16),
        class_ids=np.arange(3, dtype=np.int32),
        class_scores=np.ones(3, np.float32),
        attribute_ids=np.array([0, 0, -1], np.int32),
        attribute_scores=np.ones(3, np.float32),
        selection="given",
    )
    path = folder / "shard-00000.arrow"
    rows = STORES["arrow"].write_shard(path, [record], content="regions", configuration=CONFIGURATION)
    write_plan(folder, Plan.of_shards([[ImageSource("a", str(folder / "a.png"))]]))
    manifest = Manifest(
        content="regions", store="arrow", configuration=CONFIGURATION, shards=(describe_shard(path, rows),)
    )
    write_manifest(folder, manifest)
    return folder


def say(sentence_id, text, words, *, source="one", split="train", image="a"):
    pointers = tuple(
        Pointer(start=text.index(word), end=text.index(word) + len(word), boxes_xyxy=((100.0, 20.0, 180.0, 95.0),))
        for word in words
    )
    return Sentence(
        sentence_id=sentence_id,
        images=(SentenceImage(image_id=image, width=200, height=100),),
        text=text,
        source=source,
        split=split,
        pointers=pointers,
        answers=(Answer(text=f"answer {HOSTILE}"),) if "<" in text else (),
        details={"note": text},
    )


def write_source(folder, number, sentences, position, semantic, drops=()):
    starts = [pointer.start for each in sentences for pointer in each.pointers]
    ends = [pointer.end for each in sentences for pointer in each.pointers]
    aligned = AlignedSentences(
        sentences=sentences,
        num_boxes=[(3,)] * len(sentences),
        words=PointedWords(
            starts=np.array(starts, np.int32),
            ends=np.array(ends, np.int32),
            images=np.zeros(len(starts), np.int32),
            in_answer=np.zeros(len(starts), bool),
            oov=np.arange(len(starts)) == 1,
            position=np.array(position, np.float16).reshape(-1, 3),
            semantic=np.array(semantic, np.float16).reshape(-1, 3),
        ),
        word_offsets=np.cumsum([0, *(len(each.pointers) for each in sentences)]),
    )
    path = folder / f"shard-{number:02d}-{sentences[0].source}-00000.arrow"
    rows = STORES["arrow"].write_sentences(path, [aligned], configuration=SENTENCES)
    entry = describe_shard(path, rows)
    counts = {"sentences": len(sentences), "pointed_words": len(starts), "images": 1}
    return ShardEntry(**vars(entry) | {"drops": tuple(drops), "counts": counts})


@pytest.fixture
def page(tmp_path):
    """A page of three sources: two words, one hostile caption, one sentence that points at nothing."""
    regions = make_regions(tmp_path / "regions")
    folder = tmp_path / "sentences"
    folder.mkdir()
    drop = DropCount(reason="sentence: image without regions", count=1234, first=HOSTILE)
    entries = [
        write_source(folder, 0, [say("1", "A dog. No wug here", ["dog", "wug"])], POSITION, SEMANTIC, [drop]),
        write_source(
            folder, 1, [say("2", HOSTILE + " dog", ["dog"], source="two", split="val")], POSITION[:1], SEMANTIC[:1]
        ),
        write_source(folder, 2, [say(HOSTILE, "plain", [], source="three")], [], []),
    ]
    write_manifest(folder, Manifest(content="sentences", store="arrow", configuration=SENTENCES, shards=tuple(entries)))
    (folder / "run.jsonl").write_text(json.dumps({"event": "start", "inputs": {"regions": str(regions)}}) + "\n")
    assert main(["inspect", str(folder), "--out", str(tmp_path / "page.html"), "--images", "9"]) == 0
    return tmp_path / "page.html"


@pytest.fixture
def shown(page):
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        tab = browser.new_page(viewport={"width": 1400, "height": 1000})
        tab.goto(page.absolute().as_uri())
        yield tab
        browser.close()


def lit(tab, source):
    boxes = tab.locator(f".sentence[data-source={source}] .box.region")
    return {int(box.get_attribute("data-region")): float(box.get_attribute("data-weight")) for box in boxes.all()}


@needs_chromium
@pytest.mark.parametrize("combination", ["code", "paper", "position-only", "semantic-only"])
@pytest.mark.parametrize("word", [0, 1])
def test_pointing_at_a_word_lights_its_regions_by_the_weight_of_the_chosen_combination(shown, combination, word):
    shown.locator(f"#combinations input[value={combination}]").check(force=True)
    shown.locator(".sentence[data-source=one] .word").nth(word).hover()
    criteria = [np.array(rows, np.float16)[word : word + 1] for rows in (POSITION, SEMANTIC)]
    targets = combine(*criteria, combination=combination).targets[0]
    assert lit(shown, "one") == pytest.approx({i: t for i, t in enumerate(targets) if t > 0.02}, abs=2e-3)
    gold = shown.locator(".sentence[data-source=one] .box.gold")
    assert gold.count() == 1
    photo = shown.locator(".sentence[data-source=one] .photo").bounding_box()
    box = gold.bounding_box()
    assert (box["x"] - photo["x"]) / photo["width"] == pytest.approx(0.5, abs=0.02)
    assert box["width"] / photo["width"] == pytest.approx(0.4, abs=0.02)


@needs_chromium
def test_the_strongest_regions_are_named_and_a_row_of_the_table_outlines_its_own(shown):
    shown.locator(".sentence[data-source=one] .word").first.hover()
    card = shown.locator(".sentence[data-source=one]")
    targets = combine(np.array(POSITION[:1], np.float16), np.array(SEMANTIC[:1], np.float16)).targets[0]
    assert card.locator(".tag").first.text_content() == f"dog {targets[0]:.2f}"
    assert card.locator(".weights tbody tr").count() == 3
    cells = card.locator(".weights tbody tr").first.locator("td").all_text_contents()
    assert cells == ["brown dog", "1.00", "0.90", f"{targets[0]:.2f}"]
    card.locator(".weights tbody tr").nth(2).hover()
    traced = card.locator(".box.traced").bounding_box()
    photo = card.locator(".photo").bounding_box()
    assert (traced["x"] - photo["x"]) / photo["width"] == pytest.approx(0.5, abs=0.02)  # region 2 begins at 100 of 200
    shown.mouse.move(1, 1)
    assert card.locator(".box.traced").count() == 0


@needs_chromium
def test_the_plots_follow_the_combination(shown):
    def plotted():
        return shown.locator(".mini.of:visible").evaluate_all("all => all.map((each) => each.dataset.combination)")

    assert plotted() == ["code", "code"]  # of the two sources with pointed words
    shown.locator("#combinations input[value=paper]").check(force=True)
    assert plotted() == ["paper", "paper"]


@needs_chromium
def test_the_keyboard_lights_words_too_and_a_word_without_a_vector_says_so(shown):
    shown.locator(".sentence[data-source=one] .word").nth(1).focus()
    assert shown.locator(".sentence[data-source=one] .word.lit").text_content() == "wug"
    assert "has no vector" in shown.locator(".sentence[data-source=one] .panel").text_content()
    assert shown.locator(".sentence[data-source=one] .word.oov").all_text_contents() == ["wug"]
    assert "brown oak" not in shown.content()
    assert shown.locator(".weights .what").first.text_content() == "region"


@needs_chromium
def test_filters_and_orders_choose_what_is_shown(shown):
    def sources():
        return [each.get_attribute("data-source") for each in shown.locator(".sentence:visible").all()]

    assert sources() == ["one", "two", "three"]
    shown.select_option("#source", "two")
    assert sources() == ["two"]
    assert shown.locator("#num-shown").text_content() == "1"
    shown.select_option("#source", "")
    shown.select_option("#split", "val")
    assert sources() == ["two"]
    shown.select_option("#split", "")
    shown.fill("#search", "wug")
    assert sources() == ["one"]
    shown.fill("#search", "")
    shown.select_option("#order", "coverage")
    assert sources() == ["one", "two", "three"]  # coverage 0.9, 1 and none
    assert shown.locator(".word.lit").first.text_content() == "wug"
    shown.select_option("#order", "disagreement")
    assert sources()[2] == "three"
    assert shown.locator(".word.lit").first.text_content() == "wug"  # 0.9 on one region, 0.8 on another


@needs_chromium
def test_nothing_that_a_caption_brings_becomes_markup(shown):
    shown.locator(".sentence[data-source=two] .word").first.hover()
    assert shown.title() == "sentences · vinculum"
    assert shown.locator("script").count() == 2
    assert shown.locator("main img").count() == 3
    assert HOSTILE in shown.locator(".sentence[data-source=two] .words").first.text_content()
    assert HOSTILE in shown.locator("td", has_text="onerror").first.text_content()
    assert "1,234" in shown.locator("main").text_content()


def test_a_page_without_its_regions_says_what_to_do(page, capsys):
    folder = page.parent / "sentences"
    (folder / "run.jsonl").unlink()
    assert main(["inspect", str(folder), "--out", str(page)]) == 1
    assert "give it with --regions" in capsys.readouterr().err
    assert main(["inspect", str(folder), "--out", str(page), "--regions", str(page.parent / "regions")]) == 0
    assert main(["inspect", str(page.parent / "regions"), "--out", str(page), "--regions", str(folder)]) == 1
    assert "--regions goes with a store of sentences" in capsys.readouterr().err


def test_other_regions_than_the_sentences_were_aligned_with_are_refused(page, capsys):
    manifest = read_manifest(page.parent / "sentences")
    aligned_with = {"regions": SENTENCES["regions"] | {"sha256": "0" * 64}}
    write_manifest(page.parent / "sentences", replace(manifest, configuration=aligned_with))
    before = page.read_bytes()
    assert main(["inspect", str(page.parent / "sentences"), "--out", str(page)]) == 1
    assert "regions" in (told := capsys.readouterr().err) and "expected the same ones" in told
    assert page.read_bytes() == before


def test_a_picture_that_is_gone_is_told(page):
    (page.parent / "regions/a.png").unlink()
    assert main(["inspect", str(page.parent / "sentences"), "--out", str(page)]) == 0
    assert "the picture can no longer be read" in page.read_text(encoding="utf-8")
