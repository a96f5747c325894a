"""The report in a real browser: words light up their regions in every run; nothing in a caption becomes markup."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from stores.manifest import fingerprint
from stores.plan import ImageSource, PlannedShard, write_plan
from tests.training.joined_stores import Spoken, Word, join_stores, make_image
from tests.training.small_runs import make_run
from training.cli import main
from training.probes.attention_maps import read_attention_maps
from training.report_curves import HEIGHT, WIDTH, plot_terms
from training.report_sentences import choose_sentences, find_sentences
from training.shards import JoinedShards
from training.weights import load_model

CHROMIUM = shutil.which("chromium")
HOSTILE = (
    '<img src=x onerror="document.title=`owned`"></script><script>document.title="owned"</script>&amp;\u2028{{7*7}}'
)
OTHER = "<b>without"
NOTHING = "\N{EN DASH}"
CONFIGURATION = {
    "detector": {"vocabulary": {"classes": ["dog", "tree,oak", "dog", HOSTILE], "attributes": ["brown"] * 20}}
}
GOLD = (100.0, 50.0, 200.0, 100.0)  # the box of region 3 of an image of 200 x 100
SEMANTIC = [0.5, 0.2, 0, 0]
TEXT = "A dog by the tree."
LONG = "tree " * 20


def word(says, position, **more):
    return Word(says=says, position=position, semantic=SEMANTIC, gold=[GOLD], **more)


SENTENCES = [
    [
        Spoken(
            text=TEXT,
            image_ids=["a"],
            words=[word("dog", [0.6, 0, 0, 0.7]), word("tree", [0, 0.4, 0, 0])],
            split="val",
        ),
        Spoken(text=f"dog {HOSTILE}", image_ids=["b"], words=[word("dog", [0, 0, 0, 1])], split="val", source=HOSTILE),
        Spoken(
            text="What?",
            image_ids=["b"],
            words=[word("tree", [0, 0, 1, 0], in_answer=True)],
            answers={"tree": 1.0},
            split="val",
            source="gqa",
        ),
        Spoken(text=LONG + "dog", image_ids=["b"], words=[word("dog", [1, 0, 0, 0])], split="train", source="long"),
        Spoken(text="It points at nothing.", image_ids=["a"], split="val"),
    ]
]
TEXTS = [TEXT, "What?", "a dog is near a tree"]

needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium on the PATH to show the page")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Stores, and two runs of different recipes, of which one has no alignment decoder."""
    folder = tmp_path_factory.mktemp("report")
    images = [[make_image("a"), make_image("b", first=-9)]]
    regions, _ = join_stores(folder, images, SENTENCES, configuration=CONFIGURATION)
    Image.new("RGB", (200, 100), (120, 160, 90)).save(folder / "a.png")
    planned = (ImageSource("a", str(folder / "a.png")), ImageSource("b", str(folder / "gone.png")))
    write_plan(regions, [PlannedShard("shard-00000", planned)])
    data = {"regions": fingerprint(CONFIGURATION)}
    make_run(folder / "with", TEXTS, data=data)
    make_run(folder / "without", ["tree"], alignment=False, batch_size=8, seed=3, data=data)
    for name, terms in (("with", {"matching": 0.7, "word_object_alignment": 1.5}), ("without", {"matching": 0.6})):
        lines = [{"step": step, "loss": 9 / step, "terms": terms} for step in range(1, 21)]
        (folder / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    probe = {"split": "val", "attention": {"cross.0": {"value": 0.25, "of": 1234}}, "decoder": None}
    (folder / "without/probe.json").write_text(json.dumps(probe))
    (folder / "with/probe.json").write_text(json.dumps(probe | {"decoder": {"value": 0.5, "of": 1234}}))
    (folder / "with/scores-gqa-val.json").write_text(json.dumps({"accuracy": 60.25, "note": HOSTILE}))
    return folder


def report(place, *arguments):
    named = (f"with={place / 'with'}", f"{OTHER}={place / 'without'}")
    stores = ("--regions", str(place / "regions"), "--sentences", str(place / "sentences"))
    return main(["report", "--runs", *named, *stores, "--out", str(place / "report.html"), *arguments])


@pytest.fixture(scope="module")
def page(place):
    assert report(place) == 0
    return place / "report.html"


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@pytest.fixture
def shown(page, browser):
    tab = browser.new_page(viewport={"width": 1400, "height": 1000})
    faults = []
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("request", lambda request: request.url.startswith(("file:", "data:")) or faults.append(request.url))
    tab.goto(page.absolute().as_uri())
    yield tab
    tab.close()
    assert faults == []


def maps_of(place, name, number):
    run, model = load_model(place / name)
    with JoinedShards(place / "regions", place / "sentences") as shards:
        return next(read_attention_maps(run, model, shards, [number]))


def card(tab, sentence_id="0-00000"):
    return tab.locator(f".sentence[data-id='{sentence_id}']")


def lit(panel):
    boxes = panel.locator(".box.region").all()
    return {int(box.get_attribute("data-region")): float(box.get_attribute("data-weight")) for box in boxes}


def verdicts(panel):
    return panel.locator("td.verdict").all_text_contents()


@needs_chromium
@pytest.mark.parametrize("how", ["hover", "focus"])
@pytest.mark.parametrize(("view", "layer"), [("1", 0), ("2", 1)])
def test_a_word_lights_its_regions_and_its_row_in_every_run(shown, place, how, view, layer):
    shown.locator(f"#views input[value='{view}']").check(force=True)
    getattr(card(shown).locator(".word", has_text="dog"), how)()
    for panel, name in zip(card(shown).locator(".panel").all(), ["with", "without"], strict=True):
        maps = maps_of(place, name, 0)
        row = maps.of_word(maps.attention[layer], 2, 5)
        assert lit(panel) == pytest.approx(dict(enumerate(row.tolist())), abs=1e-4)
        assert panel.locator("tr.lit th").text_content() == "dog"
        photo, gold = panel.locator(".photo").bounding_box(), panel.locator(".box.gold").bounding_box()
        assert (gold["x"] - photo["x"]) / photo["width"] == pytest.approx(0.5, abs=0.02)
        assert gold["width"] / photo["width"] == pytest.approx(0.5, abs=0.02)
        assert panel.locator(".box.outline").count() == 4


@needs_chromium
def test_maps_mark_regions_that_cover_and_tell_of_each_word_whether_its_strongest_does(shown, place):
    assert shown.locator("#views input:checked").get_attribute("value") == "1"  # the last but one of two
    for panel, name in zip(card(shown).locator(".panel").all(), ["with", "without"], strict=True):
        maps = maps_of(place, name, 0)
        best = int(maps.of_word(maps.attention[0], 2, 5).argmax())
        assert verdicts(panel) == ["", "✓" if best in (0, 3) else "✗", "", "", NOTHING]
        covering = panel.locator("td.covers")
        assert [each.get_attribute("data-region") for each in covering.all()] == ["3", "0"]
        assert panel.locator("tr[data-word='1'] td.top").get_attribute("data-region") == str(best)
        told = panel.locator("td.verdict").nth(1).get_attribute("aria-label")
        assert told == f"the strongest region {'covers' if best in (0, 3) else 'does not cover'} the gold box"
    names = card(shown).locator(".panel").first.locator("thead th[data-region]").all_text_contents()
    assert names == [f"brown {HOSTILE.partition(',')[0]}", "brown dog", "brown dog", "brown tree"]


@needs_chromium
def test_a_run_without_an_alignment_decoder_says_so(shown, place):
    shown.locator("#views input[value=alignment]").check(force=True)
    first, second = card(shown).locator(".panel").all()
    card(shown).locator(".word", has_text="tree").hover()
    maps = maps_of(place, "with", 0)
    assert lit(first) == pytest.approx(dict(enumerate(maps.of_word(maps.alignment, 13, 17).tolist())), abs=1e-4)
    assert second.locator(".chart").text_content() == "This run has no alignment decoder."
    assert lit(second) == {}
    assert "has no such map" in shown.locator("#verdicts li").nth(1).text_content()


@needs_chromium
def test_a_cell_outlines_its_region_on_every_picture(shown):
    cell = card(shown).locator(".panel").first.locator("tr[data-word='3'] td[data-region='2']")
    cell.hover()
    assert card(shown).locator(".box.traced").count() == 2
    assert card(shown).locator("th.traced").all_text_contents() == ["brown dog", "brown dog"]
    assert card(shown).locator("tr.lit th").all_text_contents() == ["the", "the"]
    assert cell.get_attribute("title").startswith("brown dog: 0.")
    shown.mouse.move(1, 1)
    assert card(shown).locator(".box.traced").count() == 0


@needs_chromium
def test_the_answer_stands_for_itself_where_it_points(shown, place):
    asked = card(shown, "0-00002")
    asked.locator(".answer .word").hover()
    maps = maps_of(place, "with", 2)
    assert lit(asked.locator(".panel").first) == pytest.approx(dict(enumerate(maps.attention[0][0].tolist())), abs=1e-4)
    assert asked.locator(".panel").first.locator("tbody th").all_text_contents() == ["What", "[CLS]"]
    assert "the picture can no longer be read" in asked.locator(".gone").first.text_content()


@needs_chromium
def test_recipes_curves_and_figures_are_told(shown):
    options = {
        row.locator("th").text_content(): row.locator("td").all_text_contents()
        for row in shown.locator("#runs tr.difference").all()
    }
    assert options["batch size"] == ["4", "8"]
    assert options["seed"] == ["0", "3"]
    assert options["objectives · word object alignment"][1] == "none"
    assert "joint size 4" in options["objectives · word object alignment"][0]
    assert "num steps" not in options
    plots = {each.get_attribute("data-term"): each for each in shown.locator(".plot").all()}
    assert list(plots) == ["loss", "matching", "word_object_alignment"]
    assert [plot.locator("polyline").count() for plot in plots.values()] == [2, 2, 1]
    assert plots["matching"].locator("ul b").all_text_contents() == ["0.7", "0.6"]
    probe = shown.locator("[data-table=probe] tbody tr").all()
    assert [row.locator("th").text_content() for row in probe] == ["split", "attention · cross layer 1", "decoder"]
    assert probe[1].locator("td").all_text_contents() == ["0.250of 1,234", "0.250of 1,234"]
    assert probe[2].locator("td").all_text_contents() == ["0.500of 1,234", NOTHING]
    assert "60.25" in shown.locator("[data-table=scores-gqa-val]").text_content()


@needs_chromium
def test_nothing_that_a_caption_brings_becomes_markup(shown):
    card(shown, "0-00001").locator(".word").first.hover()
    assert shown.title() == f"with, {OTHER} · vinculum"
    assert shown.locator("script").count() == 2
    assert shown.locator("main img").count() == 2  # the one picture that there is, for both runs
    assert HOSTILE in card(shown, "0-00001").locator(".words").text_content()
    assert HOSTILE in card(shown, "0-00001").locator(".badge").first.text_content()
    assert shown.locator("h1 b").count() == 0


@needs_chromium
@pytest.mark.parametrize("width", [700, 1400])
def test_the_page_is_as_wide_as_its_window(page, browser, width):
    tab = browser.new_page(viewport={"width": width, "height": 1000})
    tab.goto(page.absolute().as_uri())
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    tab.close()


@needs_chromium
def test_a_word_beyond_the_limit_of_pieces_is_told(place, browser):
    assert report(place, "--sentence-ids", "0-00003", "--out", str(place / "cut.html"), "--layer", "2") == 0
    tab = browser.new_page()
    tab.goto((place / "cut.html").absolute().as_uri())
    last = card(tab, "0-00003").locator(".panel").first.locator("tbody tr").last
    assert last.locator("td.cut").text_content() == "beyond the run's limit of word pieces"
    assert tab.locator("#views input:checked").get_attribute("value") == "2"
    tab.close()


def test_sentences_are_chosen_always_the_same_from_all_sources_and_only_those_that_point(place):
    with JoinedShards(place / "regions", place / "sentences") as shards:
        assert choose_sentences(shards, "val", 9) == [0, 1, 2]
        assert choose_sentences(shards, "val", 2) == [0, 1]
        assert find_sentences(shards, ["0-00004", "0-00000"]) == [4, 0]


def test_of_a_source_those_that_mean_several_things_come_first_and_a_picture_twice_comes_last(tmp_path):
    one, two = [word("dog", [1, 0, 0, 0])], [word("dog", [1, 0, 0, 0]), word("tree", [0, 0, 0, 1])]
    spoken = [("a", one), ("a", two), ("b", two), ("b", two), ("c", one)]
    sentences = [Spoken(text="dog tree", image_ids=[image], words=words, split="val") for image, words in spoken]
    images = [[make_image("a"), make_image("b"), make_image("c")]]
    with JoinedShards(*join_stores(tmp_path, images, [sentences])) as shards:
        assert choose_sentences(shards, "val", 5) == [1, 3, 4, 2, 0]


def test_curves_of_many_lines_are_means_and_end_at_the_edges():
    lines = [{"step": 10 * step, "loss": 5.0 if step <= 500 else 1.0, "terms": {"a": step}} for step in range(1, 1001)]
    loss, term = plot_terms([lines])
    points = np.array([[float(each) for each in point.split(",")] for point in loss.curves[0].points.split()])
    assert len(points) == 143  # of 7 lines each
    assert points[0][1] == 0 and points[-1][1] == HEIGHT
    assert points[-1][0] == pytest.approx(WIDTH, abs=2)
    assert loss.curves[0].last == 1
    assert [text for _, text in loss.value_ticks] == ["1", "2", "3", "4", "5"]
    assert [text for _, text in loss.step_ticks] == ["0", "2,000", "4,000", "6,000", "8,000", "10,000"]
    assert term.term == "a"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--layer", "3"], "--layer is 3, expected a cross layer counted from 1: with has 2, <b>without has 2"),
        (["--sentences-shown", "-1"], "--sentences-shown is -1, expected at least 0"),
        (["--split", "test"], "has no sentence for test"),
        (["--sentence-ids", "none"], "has no sentence 'none' about one image"),
    ],
)
def test_what_can_not_be_shown_is_refused(place, capsys, arguments, message):
    assert report(place, *arguments, "--out", str(place / "refused.html")) == 1
    assert message in capsys.readouterr().err
    assert not (place / "refused.html").exists()


def test_a_run_that_learnt_on_other_regions_is_refused(place, tmp_path, capsys):
    make_run(tmp_path / "other", TEXTS, data={"regions": "another"})
    stores = ["--regions", str(place / "regions"), "--sentences", str(place / "sentences")]
    assert main(["report", "--runs", f"x={tmp_path / 'other'}", *stores, "--out", str(tmp_path / "r.html")]) == 1
    assert "learnt on regions of fingerprint another" in capsys.readouterr().err
    for runs, message in (("nameless", "expected NAME=RUN"), (f"x={tmp_path}", "no checkpoint there")):
        assert main(["report", "--runs", runs, *stores, "--out", str(tmp_path / "r.html")]) == 1
        assert message in capsys.readouterr().err
