"""`vinculum-train probe`: one run's files, several runs in one table, and what it cannot do."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from PIL import Image

from stores.catalog import STORES
from stores.manifest import Manifest, describe_shard, fingerprint, read_manifest, write_manifest
from tests.stores.builders import make_grid
from tests.training.builders import SINGLE_STREAM, VISUAL_PARSER
from tests.training.joined_stores import Spoken, join_stores, make_image
from tests.training.pixel_stores import of_other_tasks, pixel_stores
from tests.training.probes.pointed_stores import KNOWN, load_pointed_run, plain_maker, pointed_stores
from tests.training.small_runs import make_run
from training.cli import main
from training.data.shards import join, open_shards
from training.models.trunk import TrunkShape
from training.models.visual_parser import VisualParserShape
from training.probes import modalities
from training.probes.modalities import EvaluationPairs, measure_modalities
from training.weights.ours import load_model


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return pointed_stores(tmp_path_factory.mktemp("stores") / "joined")


def probe(stores, *arguments):
    regions, sentences = map(str, stores)
    quick = ("--num-steps", "3", "--batch-size", "8", "--device", "cpu")
    return main(["probe", *arguments, "--regions", regions, "--sentences", sentences, *quick])


def last_line(capsys):
    return json.loads(capsys.readouterr().out.strip().splitlines()[-1])


def test_one_run_has_its_modalities_beside_its_recipe(stores, tmp_path, capsys):
    run, model = load_pointed_run(tmp_path / "run", shape=SINGLE_STREAM)
    assert probe(stores, "--run", str(run.folder), "--modality-sentences", "7", "--json") == 0
    with join(*stores) as shards:
        numbers = shards.select(splits=("val",), sources=("captions",))
        chosen = numbers[[round(place * (len(numbers) - 1) / 6) for place in range(7)]]
        batches = [plain_maker(shards, run).make(chosen)]
        expected = measure_modalities(model, batches)
        assert len(list(EvaluationPairs(plain_maker(shards, run), numbers, 10**6))) == 1
    assert expected.num_pairs == 7
    written = json.loads((run.folder / "modalities.json").read_text())
    assert written.pop("split") == "val"
    assert list(written["layers"]) == ["joint.0", "joint.1"]
    for layer, figures in asdict(expected)["layers"].items():
        assert written["layers"][layer] == pytest.approx(figures, abs=1e-6)
    assert {name: written[name] for name in ("num_pairs", "pieces", "regions")} == {
        name: getattr(expected, name) for name in ("num_pairs", "pieces", "regions")
    }
    told = last_line(capsys)
    assert told["modalities"]["layers"] == written["layers"]
    assert set(told) >= {"run", "split", "attention", "linear_probe", "chance"}


def test_several_runs_stand_in_one_table_on_the_sentences_that_all_have_learnt_from(stores, tmp_path, capsys):
    one, _ = load_pointed_run(tmp_path / "one", sources=("captions", "vqa-v2"))
    other, _ = load_pointed_run(tmp_path / "other", shape=SINGLE_STREAM, alignment=False, sources=("captions",))
    runs = (f"two streams={one.folder}", f"single|stream={other.folder}")
    assert probe(stores, "--all", *runs, "--json") == 0
    lines = capsys.readouterr().out.strip().splitlines()
    told = json.loads(lines[-1])["runs"]
    rows = {cells[0]: cells[1:] for cells in ([cell.strip() for cell in line.split(" | ")] for line in lines[:-1])}
    rows = {
        name.removeprefix("| ").strip(): [each.removesuffix(" |").strip() for each in cells]
        for name, cells in rows.items()
    }
    assert lines[0].split() == ["|", "|", "two", "streams", "|", "single\\|stream", "|"]
    assert len({len(line) for line in lines[:-1]}) == 1
    figures = list(told.values())
    assert list(told) == ["two streams", "single|stream"]
    assert figures[0]["chance"] == figures[1]["chance"]
    assert rows["decoder"][0].endswith(f"of {figures[0]['decoder']['of']}") and rows["decoder"][1] == "-"
    assert rows["num pairs"] == ["24", "24"]
    assert rows["flow within over uniform"] == [
        f"{each['modalities']['summary']['flow_within_over_uniform']:.3f}" for each in figures
    ]
    assert [figure["modalities"]["summary"]["flow_within_over_uniform"] == 1 for figure in figures] == [True, False]
    for each, folder in zip(figures, (one.folder, other.folder), strict=True):
        layers = list(each["modalities"]["layers"].values())
        within = sum(layer["flow_within"] for layer in layers) / len(layers)
        assert each["modalities"]["summary"]["flow_within"] == pytest.approx(within)
        assert each["modalities"]["summary"]["nmi"] == layers[-1]["nmi"]
        assert json.loads((folder / "modalities.json").read_text())["layers"] == each["modalities"]["layers"]
        assert json.loads((folder / "probe.json").read_text())["chance"] == each["chance"]


def test_without_json_only_the_table_is_told(stores, tmp_path, capsys):
    run, _ = load_pointed_run(tmp_path / "run")
    assert probe(stores, "--all", f"a={run.folder}", "--measure", "modalities") == 0
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[-1].split() == ["runs", "1"]
    assert not any("decoder" in line or "layers" in line for line in lines)
    assert not (run.folder / "probe.json").exists()


def test_sentences_that_point_at_nothing_have_modalities_alone(tmp_path, capsys):
    spoken = [Spoken(text="the ball", image_ids=["a"], split=split) for split in ("train", "val")]
    stores = join_stores(tmp_path / "stores", [[make_image("a")]], [spoken])
    run = make_run(tmp_path / "run", KNOWN)
    assert probe(stores, "--all", f"a={run}") == 0
    told = capsys.readouterr()
    assert "| num pairs" in told.out and "attention" not in told.out
    assert "a: no alignment to measure:" in told.err and "has a region of IoU 0.5" in told.err
    assert probe(stores, "--run", str(run)) == 1
    assert "has a region of IoU 0.5" in capsys.readouterr().err
    assert (run / "modalities.json").exists()


def test_each_run_takes_what_it_learnt_on_regions_grids_or_pixels(stores, tmp_path, capsys):
    grids, images = _grids(tmp_path / "grids"), tmp_path / "images"
    images.mkdir()
    for number in range(8):
        Image.new("RGB", (20, 10), (30 * number, 100, 200)).save(images / f"image-{number}.png")
    parser = {**asdict(SINGLE_STREAM), "kind": "visual-parser"}
    trunk = TrunkShape(image_size=16, embed_dim=8, depths=(1, 1), num_heads=(1, 2), window_size=2)
    learnt = [fingerprint(read_manifest(each).configuration) for each in (stores[0], grids)]
    runs = {
        "regions": make_run(tmp_path / "a", KNOWN, data={"regions": learnt[0]}),
        "grids": make_run(tmp_path / "b", KNOWN, shape=VisualParserShape(**parser), data={"regions": learnt[1]}),
        "pixels": make_run(
            tmp_path / "c", KNOWN, shape=VisualParserShape(**parser | {"feature_dim": 16, "trunk": trunk})
        ),
    }
    told = (*(f"{name}={folder}" for name, folder in runs.items()), "--images", str(images), "--json")
    quick = ("--measure", "modalities", "--device", "cpu", "--sentences", str(stores[1]))
    assert main(["probe", "--all", *told, "--regions", str(grids), str(stores[0]), *quick]) == 0
    figures = last_line(capsys)["runs"]
    assert {name: each["modalities"]["num_pairs"] for name, each in figures.items()} == dict.fromkeys(runs, 24)
    assert (figures["grids"]["modalities"]["regions"], figures["pixels"]["modalities"]["regions"]) == (12, 4)
    assert figures["regions"]["modalities"]["regions"] < 6
    assert list(figures["pixels"]["modalities"]["layers"]) == ["joint.0", "joint.1"]
    assert main(["probe", "--all", *told, "--regions", str(grids), str(grids), *quick]) == 1
    assert f"learnt on regions of fingerprint {learnt[0]}" in capsys.readouterr().err
    assert main(["probe", "--run", str(runs["pixels"]), "--regions", str(grids), *quick]) == 1
    assert "expected either --regions" in capsys.readouterr().err


def _grids(folder):
    """Return a store of grids of 3 x 4 cells, of the images that the sentences are about."""
    folder.mkdir()
    draw, configuration = np.random.default_rng(0), {"detector": {"name": "swin"}}
    records = [
        replace(make_grid(f"image-{number}"), features=draw.normal(size=(3, 4, 6)).astype(np.float16))
        for number in range(8)
    ]
    path = folder / f"shard-00000{STORES['arrow'].suffix}"
    entry = describe_shard(
        path, STORES["arrow"].write_shard(path, records, content="grid", configuration=configuration)
    )
    write_manifest(folder, Manifest(content="grid", store="arrow", configuration=configuration, shards=(entry,)))
    return folder


def probe_pixels(stores, run, *arguments):
    given = ("--images", str(stores.images), "--sentences", str(stores.sentences), "--device", "cpu", "--json")
    return main(["probe", *(arguments or ("--run", str(run))), *given])


def pixel_run(folder):
    texts = ["a picture as red green blue gray as can be"]
    return make_run(folder, texts, shape=VISUAL_PARSER, alignment=False, sources=("coco-captions",))


def test_pairs_whose_image_is_broken_are_left_out_and_it_is_named(tmp_path, capsys, monkeypatch):
    """Of four sentences two are left; of two batches, both are left out of the second."""
    monkeypatch.setattr(modalities, "BATCH_SIZE", 2)
    stores, run = pixel_stores(tmp_path / "stores", broken=(8, 10), more=of_other_tasks()), pixel_run(tmp_path / "run")
    assert probe_pixels(stores, run) == 0
    told = last_line(capsys)["modalities"]
    assert [each.split(": ")[:2] for each in told["skipped"]] == [["08", "truncated PNG"], ["10", "truncated PNG"]]
    assert told["num_pairs"] == 2
    written = json.loads((run / "modalities.json").read_text())
    assert written["skipped"] == told["skipped"]
    loaded, model = load_model(run)
    with open_shards(VISUAL_PARSER, regions=None, images=[str(stores.images)], sentences=stores.sentences) as shards:
        whole = shards.select(splits=("val",), sources=("coco-captions",))[[1, 3]]
        expected = measure_modalities(model, [plain_maker(shards, loaded).make(each[None]) for each in whole])
    for layer, figures in asdict(expected)["layers"].items():
        assert written["layers"][layer] == pytest.approx(figures, abs=1e-6)
    assert probe_pixels(stores, run, "--all", f"a={run}", "--measure", "modalities") == 0
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| skipped")]
    assert "2 entries" in row


def test_where_no_image_gives_a_picture_that_is_said(tmp_path, capsys):
    stores = pixel_stores(tmp_path / "stores", broken=range(12), more=of_other_tasks())
    assert probe_pixels(stores, pixel_run(tmp_path / "run")) == 1
    told = capsys.readouterr().err
    assert "modalities: no image of 4 sentences gives a picture, expected one at least (" in told
    assert "truncated PNG" in told


def test_words_do_not_point_at_pixels_and_modalities_are_measured_all_the_same(tmp_path, capsys):
    stores, run = pixel_stores(tmp_path / "stores", more=of_other_tasks()), pixel_run(tmp_path / "run")
    assert probe_pixels(stores, run) == 0
    told = capsys.readouterr()
    assert "not at these images; expected those regions, or --measure modalities" in told.err
    figures = json.loads(told.out.splitlines()[-1])
    assert figures["modalities"]["num_pairs"] == 4
    assert "skipped" not in figures["modalities"]
    assert probe_pixels(stores, run, "--run", str(run), "--measure", "alignment") == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "expected either --run DIR, one run, or --all NAME=RUN, any number"),
        (("--run", "a", "--all", "b=c"), "expected either --run DIR"),
        (("--all", "nameless"), "--all 'nameless': expected NAME=RUN, every name once"),
        (("--run", "a", "--modality-sentences", "0"), "--modality-sentences is 0, expected at least 1"),
    ],
)
def test_what_can_not_be_measured_is_refused(stores, capsys, arguments, message):
    assert probe(stores, *arguments) == 1
    assert message in capsys.readouterr().err
