"""The report in a real browser: what words look at, and regions, by layer and head, in every run.

Nothing in a caption becomes markup; nothing is asked of a network.
"""

import json
import re
import shutil
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import sync_playwright

from stores.images.sources import ImageSource
from stores.manifest import fingerprint
from stores.plan import Plan, write_plan
from tests.training.builders import SINGLE_STREAM
from tests.training.joined_stores import Marked, Spoken, Word, join_stores, make_image
from tests.training.small_runs import make_run
from training.cli import main
from training.data.shards import join
from training.probes.attention_maps import read_attention_maps
from training.report.curves import HEIGHT, MODALITY_FIGURES, WIDTH, plot_layers, plot_terms
from training.report.sentences import choose_sentences, find_sentences
from training.weights.ours import load_model

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
        Spoken(
            text="By the tree dog runs",
            image_ids=["a"],
            words=[word("tree", [0, 0.4, 0, 1]), word("dog", [0, 0.4, 0, 1])],
            phrases=[Marked(says="tree dog", position=[0, 0.4, 0, 1], gold=word("tree", [0, 0.4, 0, 1]).gold)],
            split="train",
            source="phrases",
        ),
        Spoken(text="?!", image_ids=["a"], answers={"tree": 1.0}, split="train", source="phrases"),
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
    write_plan(regions, Plan.of_shards([planned]))
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


def report(place, *arguments, runs=(("with", "with"), (OTHER, "without"))):
    named = [f"{name}={place / folder}" for name, folder in runs]
    stores = ("--regions", str(place / "regions"), "--sentences", str(place / "sentences"))
    return main(["report", "--runs", *named, *stores, "--out", str(place / "report.html"), *arguments])


def modalities(kind, *flows, regions=4.0):
    """Return what a probe leaves of layers with these flows within; uniform attention has twice as much."""
    layers = {
        f"{kind}.{number}": dict.fromkeys(MODALITY_FIGURES, flow) | {"flow_within_uniform": 2 * flow}
        for number, flow in enumerate(flows)
    }
    return {"split": "val", "num_pairs": 1234, "pieces": 7.25, "regions": regions, "layers": layers}


@pytest.fixture(scope="module")
def page(place):
    assert report(place) == 0
    return place / "report.html"


@pytest.fixture(scope="module")
def page_of_both_encoders(place):
    make_run(
        place / "stream", TEXTS, shape=SINGLE_STREAM, alignment=False, data={"regions": fingerprint(CONFIGURATION)}
    )
    (place / "stream/modalities.json").write_text(json.dumps(modalities("joint", 0.1, 0.3)))
    shown = ("--sentence-ids", "0-00005", "0-00004", "0-00006", "--layer", "2", "--out", str(place / "both.html"))
    assert report(place, *shown, runs=(("stream", "stream"), ("with", "with"))) == 0
    return place / "both.html"


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield launched
        launched.close()


@contextmanager
def looked_at(page, browser, **options):
    tab = browser.new_page(**{"viewport": {"width": 1400, "height": 1000}, **options})
    faults = []
    tab.on("pageerror", lambda error: faults.append(str(error)))
    tab.on("console", lambda message: message.type == "error" and faults.append(message.text))
    tab.on("request", lambda request: request.url.startswith(("file:", "data:")) or faults.append(request.url))
    tab.goto(page.absolute().as_uri())
    tab.wait_for_selector("#sentences:not([aria-busy=true])")
    yield tab
    tab.close()
    assert faults == []


@pytest.fixture
def shown(page, browser):
    with looked_at(page, browser) as tab:
        yield tab


@pytest.fixture
def both(page_of_both_encoders, browser):
    with looked_at(page_of_both_encoders, browser) as tab:
        yield tab


def maps_of(place, name, number):
    run, model = load_model(place / name)
    with join(place / "regions", place / "sentences") as shards:
        return next(read_attention_maps(run, model, shards, [number]))


def shares(values):
    """Return float [K] over its sum, as a page's weights."""
    return pytest.approx(dict(enumerate((values / values.sum()).tolist())), abs=2e-3)


def card(tab, sentence_id="0-00000"):
    return tab.locator(f".sentence[data-id='{sentence_id}']")


def reading(card, kind, run=0):
    return card.locator(f".reading[data-reading='{kind}'][data-run='{run}']")


def gold(card):
    return card.locator(".reading[data-reading='gold']")


def cell(card, layer, head, run=0):
    return card.locator(f".of-run[data-run='{run}'] .head-cell[data-layer='{layer}'][data-head='{head}']")


def lit(panel):
    boxes = panel.locator(".box.region").all()
    return {int(box.get_attribute("data-region")): float(box.get_attribute("data-weight")) for box in boxes}


def coloured(panel):
    words = panel.locator(".coloured [data-of]").all()
    return {int(word.get_attribute("data-of")): float(word.get_attribute("data-weight")) for word in words}


def percent(panel, of):
    return int(re.search(rf"(\d+) % {of}", panel.locator(".told").text_content())[1]) / 100


def chosen_words(card):
    return card.locator(".words .word.lit").all_text_contents()


def verdicts(panel):
    return panel.locator("td.verdict").all_text_contents()


@needs_chromium
@pytest.mark.parametrize("how", ["click", "press"])
@pytest.mark.parametrize(("view", "layer"), [("1", 0), ("2", 1)])
def test_a_word_lights_its_regions_and_its_row_in_every_run(shown, place, how, view, layer):
    shown.locator(f"#views input[value='{view}']").check(force=True)
    getattr(card(shown).locator(".words .word", has_text="dog"), how)(*(["Enter"] if how == "press" else []))
    for run, name in enumerate(["with", "without"]):
        maps = maps_of(place, name, 0)
        panel = reading(card(shown), "attention", run)
        assert lit(panel) == shares(maps.attention.text_to_regions[layer].mean(0)[maps.pieces_of(2, 5)].sum(0))
        assert card(shown).locator(".panel").nth(run).locator("tr.lit th").text_content() == "dog"
        photo, box = panel.locator(".photo").bounding_box(), panel.locator(".box.gold").bounding_box()
        assert (box["x"] - photo["x"]) / photo["width"] == pytest.approx(0.5, abs=0.02)
        assert box["width"] / photo["width"] == pytest.approx(0.5, abs=0.02)
        assert panel.locator(".box.outline").count() == 4
    assert lit(gold(card(shown))) == {0: 0.5, 3: 0.5}
    assert gold(card(shown)).locator(".told").text_content() == "2 regions show it: IoU ≥ 0.5 with a gold box."


@needs_chromium
def test_maps_mark_regions_that_cover_and_tell_of_each_word_whether_its_strongest_does(shown, place):
    assert shown.locator("#views input:checked").get_attribute("value") == "1"  # the last but one of two
    for panel, name in zip(card(shown).locator(".panel").all(), ["with", "without"], strict=True):
        maps = maps_of(place, name, 0)
        best = int(maps.attention.text_to_regions[0].mean(0)[maps.pieces_of(2, 5)].sum(0).argmax())
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
    card(shown).locator(".words .word", has_text="tree").click()
    maps = maps_of(place, "with", 0)
    assert lit(reading(card(shown), "attention", 0)) == shares(maps.alignment[maps.pieces_of(13, 17)].sum(0))
    assert lit(reading(card(shown), "attention", 1)) == {}
    assert card(shown).locator(".chart").nth(1).text_content() == "This run has no alignment decoder."
    assert "has no such map" in shown.locator("#verdicts li").nth(1).text_content()
    card(shown).locator("select").select_option("2")
    told = reading(card(shown), "attention", 0).locator(".told").text_content()
    assert told == "The alignment decoder has no way back, from regions to words."
    assert cell(card(shown), "alignment", 0).get_attribute("aria-label") == "alignment decoder: nothing"


@needs_chromium
def test_a_cell_of_a_map_outlines_its_region_on_every_picture(shown):
    pointed = card(shown).locator(".panel").first.locator("tr[data-word='3'] td[data-region='2']")
    pointed.hover()
    assert card(shown).locator(".box.aimed").count() == 3
    assert card(shown).locator("th.traced").all_text_contents() == ["brown dog", "brown dog"]
    assert pointed.get_attribute("title").startswith("brown dog: 0.")
    pointed.click()
    assert chosen_words(card(shown)) == ["the"]
    shown.mouse.move(1, 1)
    assert card(shown).locator(".box.aimed").count() == 0


@needs_chromium
def test_the_answer_stands_for_itself_where_it_points(shown, place):
    asked = card(shown, "0-00002")
    asked.locator(".answer .word").click()
    maps = maps_of(place, "with", 2)
    assert lit(reading(asked, "attention")) == shares(maps.attention.text_to_regions[0].mean(0)[0])
    assert asked.locator(".panel").first.locator("tbody th").all_text_contents() == ["What", "[CLS]"]
    assert "the picture can no longer be read" in asked.locator(".gone").first.text_content()
    asked.locator("select").select_option("2")
    expected = maps.attention.regions_to_text[0].mean(0)[2]
    expected = np.array([expected[maps.pieces_of(0, 4)].sum(), expected[0]])
    assert coloured(reading(asked, "attention")) == shares(expected)
    assert coloured(gold(asked)) == {0: 0, 1: 1}


@needs_chromium
def test_a_click_chooses_a_phrase_and_another_the_word_alone(both, place):
    asked = card(both, "0-00005")
    asked.locator(".words .word", has_text="runs").click()
    asked.locator(".words .word", has_text="dog").click()
    assert chosen_words(asked) == ["tree", "dog"]
    maps = maps_of(place, "stream", 5)
    pieces = np.concatenate([maps.pieces_of(7, 11), maps.pieces_of(12, 15)])
    attention = maps.attention.text_to_regions[1].mean(0)[pieces].sum(0)
    assert lit(reading(asked, "attention")) == shares(attention)
    assert lit(reading(asked, "rollout")) == shares(maps.rollout.text_to_regions[1][pieces].sum(0))
    assert lit(gold(asked)) == {3: 1}
    found = percent(reading(asked, "attention"), "of the attention goes to regions")
    assert found == pytest.approx(attention.sum() / len(pieces), abs=0.01)
    assert lit(reading(asked, "rollout", run=1)) == {}
    assert "Two streams have no rollout" in reading(asked, "rollout", run=1).locator(".told").text_content()
    asked.locator(".words .word", has_text="dog").click()
    assert chosen_words(asked) == ["dog"]
    alone = maps.attention.text_to_regions[1].mean(0)[maps.pieces_of(12, 15)].sum(0)
    assert lit(reading(asked, "attention")) == shares(alone)


@needs_chromium
def test_a_head_is_chosen_for_a_run_in_all_sentences_and_cells_tell_what_of_it_is_on_gold(both, place):
    asked, other = card(both, "0-00005"), card(both, "0-00004")
    asked.locator(".words .word", has_text="dog").click()
    maps = maps_of(place, "stream", 5)
    head = maps.attention.text_to_regions[0, 1][np.concatenate([maps.pieces_of(7, 11), maps.pieces_of(12, 15)])].sum(0)
    on_gold = f"{head[3] / head.sum():.2f}"
    assert cell(asked, 1, 2).get_attribute("aria-label") == f"layer 1, head 2: {on_gold} on gold"
    assert "share on gold regions; 0.25 by chance" in asked.locator(".measures").first.text_content()
    before = lit(reading(asked, "attention", run=1))
    cell(asked, 1, 2).click()
    assert lit(reading(asked, "attention")) == shares(head)
    assert lit(reading(asked, "attention", run=1)) == before
    pressed = [each.get_attribute("title") for each in asked.locator(".head-cell[aria-pressed=true]").all()]
    assert [each.partition(":")[0] for each in pressed] == ["layer 1, head 2", "layer 2, mean of heads"]
    both.wait_for_selector("#sentences:not([aria-busy=true])")
    assert reading(other, "attention").locator("figcaption").text_content() == "attention layer 1, head 2"
    assert reading(other, "rollout").locator("figcaption").text_content() == "rollout after layer 1, mean of heads"
    assert both.locator("#views input:checked").count() == 0
    assert "stream layer 1, head 2: " in both.locator("#verdicts li").first.text_content()
    both.locator("#views input[value='2']").check(force=True)
    assert asked.locator(".head-cell[aria-pressed=true]").count() == 2
    assert cell(asked, 2, 0).get_attribute("aria-pressed") == "true"


@needs_chromium
def test_arrows_go_from_head_to_head_in_a_grid_that_is_one_stop(both):
    asked = card(both, "0-00005")
    assert asked.locator(".of-run[data-run='0'] .head-cell[tabindex='0']").count() == 1
    cell(asked, 2, 0).focus()
    for key in ("ArrowUp", "ArrowRight", "ArrowRight", "ArrowRight", "Enter"):
        both.keyboard.press(key)
    assert cell(asked, 1, 2).get_attribute("aria-pressed") == "true"
    assert both.evaluate("document.activeElement.dataset.head") == "2"
    assert asked.locator(".of-run[data-run='0'] .head-cell[tabindex='0']").count() == 1


@needs_chromium
def test_a_region_colours_the_words_that_it_looks_at(both, place):
    asked = card(both, "0-00005")
    photo = gold(asked).locator(".photo")
    at = photo.bounding_box()
    photo.click(position={"x": 0.97 * at["width"], "y": 0.97 * at["height"]})  # only region 3 reaches so far
    assert asked.locator("select").input_value() == "3"
    assert asked.locator(".box.asked").count() == 5
    assert chosen_words(asked) == []
    maps = maps_of(place, "stream", 5)
    rows = {"attention": maps.attention.regions_to_text[1].mean(0)[3], "rollout": maps.rollout.regions_to_text[1][3]}
    for kind, row in rows.items():
        words = np.array([row[maps.pieces_of(*span)].sum() for span in [(0, 2), (3, 6), (7, 11), (12, 15), (16, 20)]])
        assert coloured(reading(asked, kind)) == shares(words)
        assert percent(reading(asked, kind), f"of the {kind} goes to words") == pytest.approx(words.sum(), abs=0.01)
        assert lit(reading(asked, kind)) == {}
    assert coloured(gold(asked)) == {0: 0, 1: 0, 2: 0.5, 3: 0.5, 4: 0}
    assert gold(asked).locator(".told").text_content() == "It shows “tree dog”."
    assert "share on gold words; 0.40 by chance" in asked.locator(".measures").first.text_content()
    asked.locator("thead [data-region='1']").first.click()
    assert asked.locator("select").input_value() == "1"
    assert gold(asked).locator(".told").text_content() == "No word of this sentence means it."
    asked.locator("select").select_option("")
    assert chosen_words(asked) == ["tree", "dog"]


@needs_chromium
def test_another_click_on_a_picture_chooses_the_next_region_there(both):
    asked = card(both, "0-00005")
    photo = gold(asked).locator(".photo")
    at = photo.bounding_box()
    found = []
    for _ in range(5):
        photo.click(position={"x": 0.499 * at["width"], "y": 0.499 * at["height"]})
        found.append(asked.locator("select").input_value())
    assert sorted(found[:3]) == ["0", "1", "2"]
    assert found[3:] == found[:2]


@needs_chromium
def test_of_a_sentence_that_points_at_nothing_cells_tell_how_much_is_on_one_region(both, place):
    asked = card(both, "0-00004")
    asked.locator(".words .word", has_text="points").click()
    maps = maps_of(place, "stream", 4)
    head = maps.attention.text_to_regions[1, 0][maps.pieces_of(3, 9)].sum(0)
    told = f"layer 2, head 1: {head.max() / head.sum():.2f} on one region"
    assert cell(asked, 2, 1).get_attribute("aria-label") == told
    assert "largest share of one region, as there is no gold" in asked.locator(".measures").first.text_content()
    assert lit(gold(asked)) == {}
    assert gold(asked).locator(".told").text_content() == "These words point at nothing."
    assert verdicts(asked.locator(".panel").first) == [""] * 4


@needs_chromium
def test_a_sentence_without_words_says_so_and_breaks_nothing(both):
    asked = card(both, "0-00006")
    for choice in ("2", ""):
        asked.locator("select").select_option(choice)
        for kind in ("attention", "rollout"):
            assert reading(asked, kind).locator(".told").text_content() == "This sentence has no words."
    assert cell(asked, 1, 1).get_attribute("aria-label") == "layer 1, head 1: nothing"


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
def test_flow_is_drawn_by_layer_of_the_runs_that_were_measured(both, shown):
    plots = {each.get_attribute("data-term"): each for each in both.locator("#modalities .plot").all()}
    assert list(plots) == list(MODALITY_FIGURES)
    within = plots["flow_within"]
    assert within.locator("ul").text_content() == "stream 0.30"
    assert within.locator("polyline:not(.uniform)").get_attribute("points") == "75.0,125.0 225.0,75.0"
    assert within.locator("polyline.uniform").get_attribute("points") == "75.0,100.0 225.0,0.0"
    assert within.locator("circle").count() == 2
    assert plots["nmi"].locator("polyline").count() == 1
    assert [plot.locator(".even").count() for plot in plots.values()] == [0, 0, 0, 1, 1]
    told = both.locator(".measured dd").all_text_contents()
    assert told == ["1,234 pairs of val, 7.2 pieces and 4.0 regions each", "nothing yet: vinculum-train probe"]
    assert "Lengths are alike" in both.locator(".measured p").text_content()
    assert "Of two streams half of all" in both.locator("#modalities > p").text_content()
    assert shown.locator("#modalities").count() == 0


@needs_chromium
def test_runs_that_learnt_on_other_regions_are_compared_without_sentences(place, tmp_path, browser):
    make_run(tmp_path / "cells", ["tree"], shape=SINGLE_STREAM, data={"regions": "another"})
    (tmp_path / "cells/modalities.json").write_text(json.dumps(modalities("joint", 0.2, regions=49.0)))
    (place / "with/modalities.json").write_text(json.dumps(modalities("cross", 0.5, 0.5)))
    runs = ("with", "with"), ("cells", str(tmp_path / "cells"))
    try:
        assert report(place, "--sentences-shown", "0", "--out", str(tmp_path / "r.html"), runs=runs) == 0
    finally:
        (place / "with/modalities.json").unlink()
    tab = browser.new_page()
    tab.goto((tmp_path / "r.html").as_uri())
    assert tab.locator("#looks, script").count() == 0
    assert tab.locator(".plot[data-term=flow_within] polyline:not(.uniform)").count() == 2
    assert "Lengths differ: flow can be compared over uniform alone." in tab.locator(".measured p").text_content()
    tab.close()


@needs_chromium
def test_nothing_that_a_caption_brings_becomes_markup(shown):
    card(shown, "0-00001").locator(".word").first.click()
    card(shown, "0-00001").locator("select").select_option("3")
    assert shown.title() == f"with, {OTHER} · vinculum"
    assert shown.locator("script").count() == 2
    assert shown.locator("main img").count() == 3  # the one picture that there is, for both runs and gold
    assert HOSTILE in card(shown, "0-00001").locator(".words").text_content()
    assert HOSTILE in reading(card(shown, "0-00001"), "attention").locator(".coloured").text_content()
    assert HOSTILE.partition(",")[0] in gold(card(shown, "0-00001")).locator("figcaption").text_content()
    assert HOSTILE in card(shown, "0-00001").locator(".badge").first.text_content()
    assert shown.locator("h1 b").count() == 0


@needs_chromium
@pytest.mark.parametrize("width", [390, 700, 1400])
def test_the_page_is_as_wide_as_its_window(page_of_both_encoders, browser, width):
    with looked_at(page_of_both_encoders, browser, viewport={"width": width, "height": 1000}) as tab:
        assert tab.evaluate("document.documentElement.scrollWidth") == width


@needs_chromium
def test_a_word_beyond_the_limit_of_pieces_is_told(place, browser):
    assert report(place, "--sentence-ids", "0-00003", "--out", str(place / "cut.html"), "--layer", "2") == 0
    with looked_at(place / "cut.html", browser) as tab:
        last = card(tab, "0-00003").locator(".panel").first.locator("tbody tr").last
        assert last.locator("td.cut").text_content() == "beyond the run's limit of word pieces"
        told = reading(card(tab, "0-00003"), "attention").locator(".told").text_content()
        assert told == "These words are beyond the run's limit of word pieces."
        assert tab.locator("#views input:checked").get_attribute("value") == "2"


def test_sentences_are_chosen_always_the_same_from_all_sources_and_only_those_that_point(place):
    with join(place / "regions", place / "sentences") as shards:
        assert choose_sentences(shards, "val", 9) == [0, 1, 2]
        assert choose_sentences(shards, "val", 2) == [0, 1]
        assert find_sentences(shards, ["0-00004", "0-00000"]) == [4, 0]


def test_of_a_source_those_that_mean_several_things_come_first_and_a_picture_twice_comes_last(tmp_path):
    one, two = [word("dog", [1, 0, 0, 0])], [word("dog", [1, 0, 0, 0]), word("tree", [0, 0, 0, 1])]
    spoken = [("a", one), ("a", two), ("b", two), ("b", two), ("c", one)]
    sentences = [Spoken(text="dog tree", image_ids=[image], words=words, split="val") for image, words in spoken]
    images = [[make_image("a"), make_image("b"), make_image("c")]]
    with join(*join_stores(tmp_path, images, [sentences])) as shards:
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
    assert [text for _, text in loss.ticks] == ["0", "2,000", "4,000", "6,000", "8,000", "10,000"]
    assert term.term == "a"


def test_a_curve_of_one_line_is_a_dot_and_marks_are_whole_steps():
    loss, _ = plot_terms([[{"step": 2, "loss": 5.0, "terms": {"a": 1.0}}]])
    assert len(set(loss.curves[0].points.split())) == 1 and len(loss.curves[0].points.split()) == 2
    assert [text for _, text in loss.ticks] == ["0", "1", "2"]


def test_curves_by_layer_begin_at_zero_and_end_where_the_deepest_run_does():
    within, *_, ratio = plot_layers([{}, modalities("joint", 0.1, 0.2, 0.4, 0.4), modalities("cross", 0.5)])
    assert [curve.run for curve in within.curves] == [1, 2]
    assert within.curves[0].points.split()[0] == f"{WIDTH / 8:.1f},{HEIGHT * 0.9:.1f}"
    assert within.curves[1].points == " ".join([f"{WIDTH / 8:.1f},{HEIGHT / 2:.1f}"] * 2)
    assert [text for _, text in within.ticks] == ["1", "2", "3", "4"]
    assert [text for _, text in within.value_ticks] == ["0", "0.2", "0.4", "0.6", "0.8", "1"]
    assert [curve.last for curve in within.curves] == [0.4, 0.5]
    assert (ratio.curves[0].uniform, within.even) == ("", None)
    assert plot_layers([{}, {}]) == ()
    twelve = plot_layers([modalities("joint", *[0.1] * 12)])[0]
    assert [text for _, text in twelve.ticks] == [str(layer) for layer in range(1, 13)]
    below = plot_layers([modalities("joint", 0.1)])[-1]
    assert (below.title, below.even) == ("flow from the input, over uniform", 0)  # at the upper edge, not above it
    deep = plot_layers([modalities("joint", *[0.1] * 24)])[0]
    assert [text for _, text in deep.ticks] == [str(layer) for layer in range(1, 24, 2)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--layer", "3"],
            "--layer is 3, expected one where words and regions meet, counted from 1: with has 2, <b>without has 2",
        ),
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
