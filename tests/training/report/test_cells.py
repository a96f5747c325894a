"""The report of visual parsers in a real browser: words and cells of pictures, and runs that see different things."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from annotations.records import SentenceImage
from stores.manifest import fingerprint
from tests.training.builders import TRUNK, VISUAL_PARSER
from tests.training.joined_stores import Spoken, Word, join_stores, make_image
from tests.training.pixel_stores import GRID, pixel_stores
from tests.training.report.test_page import (
    CHROMIUM,
    NOTHING,
    card,
    cell,
    chosen_words,
    coloured,
    gold,
    lit,
    looked_at,
    modalities,
    needs_chromium,
    reading,
    shares,
)
from tests.training.small_runs import make_run
from training.cli import main
from training.data.pictures import Pictures
from training.data.shards import join
from training.probes.attention_maps import read_attention_maps
from training.report.sentences import choose_sentences, make_exhibit
from training.weights.ours import load_model

LOWER_RIGHT = [21, 22, 23, 27, 28, 29, 33, 34, 35]
"""Cells of 6 x 6 in a quarter of the picture."""
TEXT = "A dog by the tree."


def word(says, *boxes):
    """A pointed word, which some region that is not there shows, too."""
    return Word(says=says, position=[0, 0, 0, 0.9], semantic=[0.5] * 4, gold=boxes)


SENTENCES = [
    Spoken(
        text=TEXT,
        image_ids=["a"],
        words=[word("dog", (100, 50, 200, 100)), word("tree", (10, 5, 20, 10))],
        split="val",
    ),
    Spoken(text="The tree is a dog.", image_ids=["a"], words=[word("tree", (10, 5, 20, 10))], split="val"),
    Spoken(text="It points at nothing.", image_ids=["b"], split="val"),
    Spoken(text="tree " * 20 + "dog", image_ids=["b"], words=[word("dog", (0, 0, 33, 16))], split="val", source="long"),
    Spoken(text="Nor does this.", image_ids=["b"], split="test"),
]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Images as files, sentences that were aligned with regions, and two runs that never saw these."""
    folder = tmp_path_factory.mktemp("cells")
    join_stores(folder, [[make_image("a"), make_image("b")]], [SENTENCES])
    (folder / "images").mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (2, 100, 200, 3), dtype=np.uint8)
    for name, pixels in zip("ab", noise, strict=True):
        Image.fromarray(pixels).save(folder / f"images/{name}.png")
    for seed, name in enumerate(("attention", "random")):
        make_run(folder / name, [TEXT], shape=VISUAL_PARSER, alignment=False, seed=seed)
        lines = [{"step": step, "loss": 9 / step, "terms": {"masked_tokens": 1 / step}} for step in (1, 2, 3)]
        (folder / name / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / name / "modalities.json").write_text(json.dumps(modalities("joint", 0.1, 0.3, regions=36.0)))
    return folder


def report(place, *arguments, runs=("attention", "random"), page="page.html"):
    seen = ("--images", str(place / "images"), "--sentences", str(place / "sentences"))
    return main(
        [
            "report",
            "--runs",
            *(f"{run}={place / run}" for run in runs),
            *(arguments or seen),
            "--out",
            str(place / page),
        ]
    )


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="data"[^>]*>(.*)</script>', page.read_text())[1])


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def page(place):
    assert report(place) == 0
    return place / "page.html"


@pytest.fixture
def shown(page, browser):
    with looked_at(page, browser) as tab:
        yield tab


def open_pixels(place):
    return join(Pictures([str(place / "images")], TRUNK), place / "sentences")


def maps_of(place, name, number):
    run, model = load_model(place / name)
    with open_pixels(place) as shards:
        return next(read_attention_maps(run, model, shards, [number]))


def small_map(card, says, run=0):
    return card.locator(".panel").nth(run).locator("figure", has=card.page.locator("figcaption", has_text=says))


@needs_chromium
def test_a_word_warms_the_cells_that_it_looks_at_in_every_run(shown, place):
    card(shown).locator(".words .word", has_text="dog").click()
    for run, name in enumerate(["attention", "random"]):
        maps = maps_of(place, name, 0)
        dog = maps.pieces_of(2, 5)
        expected = maps.attention.text_to_regions[0].mean(0)[dog].sum(0)
        assert lit(reading(card(shown), "attention", run)) == shares(expected)
        rolled = maps.rollout.text_to_regions[0][dog].sum(0)
        assert lit(reading(card(shown), "rollout", run)) == shares(rolled)
        top = reading(card(shown), "attention", run).locator(".box.top")
        assert top.get_attribute("data-region") == str(expected.argmax())
        told = reading(card(shown), "attention", run).locator(".told").text_content()
        assert f"row {1 + expected.argmax() // 6}, column {1 + expected.argmax() % 6} " in told
        assert "of the attention goes to cells" in told
    assert [each for each, share in lit(gold(card(shown))).items() if share] == LOWER_RIGHT
    assert gold(card(shown)).locator(".told").text_content() == "9 cells show it: overlap ≥ 0.25 with a gold box."
    assert cell(card(shown), 1, 1).get_attribute("aria-label").endswith(" on gold")
    assert "share on gold cells; 0.25 by chance" in card(shown).locator(".measures").first.text_content()


@needs_chromium
def test_every_word_has_a_small_map_on_which_its_gold_cells_are_outlined(shown, place):
    first = card(shown)
    assert first.locator(".panel").first.locator("figure").count() == 5
    maps = maps_of(place, "attention", 0)
    for says, span, covering in (("dog", (2, 5), LOWER_RIGHT), ("tree", (13, 17), [0])):
        squares = small_map(first, says).locator(".cells > div")
        assert squares.count() == 36
        expected = maps.attention.text_to_regions[0].mean(0)[maps.pieces_of(*span)].sum(0)
        top = int(expected.argmax())
        assert small_map(first, says).locator(".top").get_attribute("data-region") == str(top)
        assert squares.nth(7).get_attribute("title") == f"row 2, column 2: {expected[7] / expected.sum():.3f}"
        outlined = small_map(first, says).locator(".covers").all()
        assert [int(each.get_attribute("data-region")) for each in outlined] == covering
        assert small_map(first, says).locator(".verdict").text_content() == ("✓" if top in covering else "✗")
    assert small_map(first, "by").locator(".verdict").text_content() == ""
    (corner, middle) = (small_map(first, "dog").locator(f"[data-region='{region}']") for region in (21, 28))
    assert corner.get_attribute("style").count("inset") == 2
    assert middle.evaluate("each => each.style.boxShadow") == ""
    assert "words on this page find a gold cell" in shown.locator("#verdicts li").first.text_content()


@needs_chromium
def test_a_small_map_chooses_its_word_and_points_to_its_cells_on_every_picture(shown):
    square = small_map(card(shown), "by").locator("[data-region='8']")
    square.hover()
    assert card(shown).locator(".box.aimed").count() == 5
    assert card(shown).locator(".cells .traced").count() == 10
    square.click()
    assert chosen_words(card(shown)) == ["by"]
    assert card(shown).locator(".map .lit figcaption").all_text_contents() == ["by ", "by "]


@needs_chromium
def test_a_cell_of_a_picture_colours_the_words_that_it_looks_at(shown, place):
    photo = gold(card(shown)).locator(".photo")
    at = photo.bounding_box()
    photo.click(position={"x": 0.9 * at["width"], "y": 0.9 * at["height"]})
    assert card(shown).locator("select").input_value() == "35"
    chosen = card(shown).locator("select option:checked")
    assert chosen.text_content() == "row 6, column 6"
    maps = maps_of(place, "attention", 0)
    row = maps.attention.regions_to_text[0].mean(0)[35]
    spans = [(0, 1), (2, 5), (6, 8), (9, 12), (13, 17)]
    assert coloured(reading(card(shown), "attention")) == shares(
        np.array([row[maps.pieces_of(*span)].sum() for span in spans])
    )
    assert gold(card(shown)).locator(".told").text_content() == "It shows “dog”."


@needs_chromium
def test_words_beyond_the_limit_have_no_map(shown):
    last = card(shown, "0-00003").locator(".panel").first.locator("figure").last
    assert last.locator(".cut").get_attribute("title") == "beyond the run's limit of word pieces"
    assert (last.locator(".cells > div").count(), last.locator(".verdict").text_content()) == (0, NOTHING)


@needs_chromium
def test_recipes_curves_and_what_is_seen_are_told(shown):
    assert shown.locator(".lead").text_content() == (
        "What 2 runs learnt, and what they look at: sentences of sentences, images of images."
    )
    encoder = shown.locator("#runs tr", has_text="encoder").locator("td").first.text_content()
    assert encoder == "Swin, 2/2 layers, 48 pixels to 6 x 6 cells; one stream, 2 layers; width 8, 2 heads"
    assert [each.get_attribute("data-term") for each in shown.locator("#curves .plot").all()] == [
        "loss",
        "masked_tokens",
    ]
    assert shown.locator("#modalities .plot[data-term=flow_within] polyline:not(.uniform)").count() == 2
    legend = shown.locator(".legend").text_content()
    assert "a cell that shows the word, with an overlap ≥ 0.25 with a gold box" in legend
    assert "region" not in legend
    assert shown.locator(".photo img").count() == 3 * 5  # of three sentences, for both readings of two runs, and gold


@needs_chromium
@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_is_as_wide_as_its_window(page, browser, width):
    with looked_at(page, browser, viewport={"width": width, "height": 1000}) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") == width


def test_sentences_that_point_come_first_and_any_where_none_does(place):
    with open_pixels(place) as shards:
        assert choose_sentences(shards, "val", 9) == [0, 3, 1]
        assert choose_sentences(shards, "test", 9) == [4]


def test_gold_boxes_are_told_in_pixels_of_the_picture_that_is_shown(place):
    """The regions that sentences were aligned with may be of larger copies."""
    with open_pixels(place) as shards:
        aligned, cells = shards.sentences.read(*shards.place(0)), shards.side.regions(0)
    larger = replace(aligned.sentence, images=(SentenceImage(image_id="a", width=400, height=200),))
    shown = make_exhibit(replace(aligned, sentence=larger), cells, {}, [], grid=(6, 6))
    assert shown["words"][1]["gold"] == [[50.0, 25.0, 100.0, 50.0]]
    assert shown["words"][1]["covers"] == [7, 8, 13, 14]
    assert shown["regions"][8] == {"box": [66.7, 16.7, 100.0, 33.3], "name": "row 2, column 3", "attribute": ""}


def test_stored_cells_are_shown_as_those_of_pixels(tmp_path):
    stores = pixel_stores(tmp_path)
    shape = replace(VISUAL_PARSER, trunk=None, feature_dim=6)
    make_run(tmp_path / "run", ["what color"], shape=shape, alignment=False, data={"regions": fingerprint(GRID)})
    seen = ("--regions", str(stores.grids), "--sentences", str(stores.sentences), "--sentences-shown", "2")
    assert report(tmp_path, *seen, runs=["run"]) == 0
    data = data_of(tmp_path / "page.html")
    assert (data["grid"], data["covering"]) == ([3, 4], 0.25)
    assert [each["regions"][-1]["name"] for each in data["sentences"]] == ["row 3, column 4"] * 2
    assert [each["source"] for each in data["sentences"]] == ["vqa-v2", "vqa-v2"]


def test_runs_of_any_kind_are_compared_without_any_store(place, capsys):
    make_run(place / "regions-run", [TEXT], data={"regions": "another"})
    assert report(place, "--sentences-shown", "0", runs=["attention", "regions-run"], page="figures.html") == 0
    assert "sentences  0" in capsys.readouterr().out
    text = (place / "figures.html").read_text()
    assert "What 2 runs learnt.</p>" in text and "<script" not in text


@pytest.mark.parametrize(
    ("runs", "seen", "message"),
    [
        (["attention", "finer"], ["--images", "images"], "finer sees images of 96 pixels in 12 x 12 cells, {place}/"),
        (["attention", "stored"], ["--images", "images"], "stored sees what is stored, {place}/attention images of 48"),
        (["attention"], ["--regions", "regions"], "the encoder takes pixels, expected --images with the files"),
        (["stored"], ["--images", "images"], "the encoder takes what is stored, expected --regions"),
        (["attention"], [], "expected either --regions, a store that vinculum extract wrote, or --images"),
        (["attention"], None, "expected --sentences, the store that vinculum align wrote, or --sentences-shown 0"),
        (["attention"], ["--images", "broken"], "image 'a' ({place}/broken/a.png): truncated PNG: "),
    ],
)
def test_what_can_not_be_shown_together_is_refused(place, capsys, runs, seen, message):
    finer = replace(VISUAL_PARSER, trunk=replace(TRUNK, image_size=96, window_size=12))
    make_run(place / "finer", [TEXT], shape=finer, alignment=False)
    make_run(place / "stored", [TEXT])
    (place / "broken").mkdir(exist_ok=True)
    for path in (place / "images").iterdir():
        (place / "broken" / path.name).write_bytes(path.read_bytes()[:500])
    given = (
        []
        if seen is None
        else ["--sentences", str(place / "sentences"), *seen[:1], *(str(place / each) for each in seen[1:])]
    )
    assert report(place, *given, "--split", "val", runs=runs, page="refused.html") == 1
    assert message.format(place=place) in capsys.readouterr().err
    assert not (place / "refused.html").exists()
