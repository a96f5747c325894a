"""What a run learns from is what it began with, by content: regions, grids and files that are others are refused."""

import json
import shutil
from dataclasses import replace

import pytest
from PIL import Image

from stores.errors import StoreError
from stores.manifest import read_manifest
from stores.store_content import content_sha256, shards_since
from tests.stores.builders import make_store
from tests.training.builders import VISUAL_PARSER
from tests.training.joined_stores import CONFIGURATION, Spoken, join_stores, make_image
from tests.training.learnable_runs import begin, learnable_stores
from tests.training.pixel_stores import GRID, pixel_stores
from tests.training.small_runs import make_run
from training.commands.evaluate import EvaluateCommand
from training.commands.probe import ProbeCommand
from training.data.identity import compare_with_learnt, data_as_begun, data_of, require_learnt_data
from training.data.shards import join, open_shards
from training.execution.pretrain import tell_left_out
from training.execution.worker import Place, train_run
from training.report.page import ReportOptions, write_report
from training.runs.folder import open_run

SENTENCES = [
    [Spoken(text=f"the {name}", image_ids=[name], split=split) for name, split in (("a", "train"), ("b", "val"))]
]


def images(first, *more):
    return [[make_image(name, first=first) for name in ("a", "b")], *more]


@pytest.fixture
def stores(tmp_path):
    return join_stores(tmp_path / "one", images(0), SENTENCES)


def other_regions(folder):
    """Return a store of other pictures with the same ids and settings."""
    make_store(folder, images(1000), configuration=CONFIGURATION)
    return folder


def run_on(stores, folder):
    """Return a run that records what it has learnt from."""
    with join(*stores) as shards:
        return make_run(folder, ["the a", "the b"], data=data_of(shards))


def test_regions_of_other_pictures_do_not_go_with_sentences(stores, tmp_path):
    other = other_regions(tmp_path / "other")
    with pytest.raises(StoreError) as refused:
        join(other, stores[1])
    for content in (content_sha256(read_manifest(each)) for each in (other, stores[0])):
        assert content in str(refused.value)
    assert "Use those regions, or align again" in str(refused.value)
    join(*stores).close()  # the advice


def test_regions_that_grew_go_with_sentences_that_were_aligned_before(stores):
    shutil.rmtree(stores[0])
    make_store(stores[0], images(0, [make_image("c")]), configuration=CONFIGURATION)
    with join(*stores) as shards:
        assert shards.is_aligned
        assert [float(shards.side.regions(int(shards.images_of(n)[0])).features[0, 0]) for n in range(2)] == [0, 0]


def test_a_store_that_lost_changed_or_exchanged_a_shard_is_another_one(tmp_path):
    manifest = make_store(tmp_path / "store", images(0, [make_image("c")], [make_image("d")]))
    first, second, third = manifest.shards
    aligned = content_sha256(replace(manifest, shards=(first, second)))
    exchanged = replace(first, name=second.name), replace(second, name=first.name)
    assert shards_since(manifest, content_sha256(manifest)) == 0
    assert shards_since(manifest, aligned) == 1
    for shards in ((second, third), (first, third), exchanged):
        assert shards_since(replace(manifest, shards=shards), aligned) is None


def test_sentences_that_record_no_content_are_taken_and_that_is_said(tmp_path, capsys):
    stores = join_stores(tmp_path / "old", images(0), SENTENCES, records_content=False)
    with join(*stores) as shards:
        tell_left_out(shards)
    assert "no content of the regions that it was aligned with was recorded" in capsys.readouterr().err


def test_a_run_does_not_go_on_with_regions_of_other_pictures(tmp_path):
    task = begin(learnable_stores(tmp_path / "stores"), tmp_path / "run")
    other, _ = learnable_stores(tmp_path / "other", broken="image-003")
    with pytest.raises(StoreError, match=r"was aligned with regions of content .* align again"):
        begin((other, task.sentences), task.run)
    with pytest.raises(StoreError, match=r"was aligned with regions of content .* align again"):
        train_run(replace(task, regions=other), Place())


@pytest.fixture(scope="module")
def pixels(tmp_path_factory):
    return pixel_stores(tmp_path_factory.mktemp("pixels"))


def open_grids(pixels, grids):
    return join(grids, pixels.sentences)


def test_a_run_does_not_go_on_with_grids_of_other_pictures_but_with_more(pixels, tmp_path):
    with open_grids(pixels, pixels.grids) as shards:
        records, begun = list(shards.side.store), data_of(shards)
    make_store(tmp_path / "more", [records, [replace(records[0], image_id="new")]], configuration=GRID, content="grid")
    darker = [replace(each, features=each.features / 2) for each in records]
    make_store(tmp_path / "other", [darker], configuration=GRID, content="grid")
    with open_grids(pixels, tmp_path / "more") as shards:
        assert data_as_begun(shards, begun, "run") == begun
        require_learnt_data(shards, begun, "run")
        compare_with_learnt(shards, begun, "run")
    with open_grids(pixels, tmp_path / "other") as shards:
        for compare in (data_as_begun, require_learnt_data, compare_with_learnt):
            with pytest.raises(StoreError, match=r"run learnt from grids of content .*: other grids of the same names"):
                compare(shards, begun, "run")


def test_grids_that_bring_back_sentences_change_the_order_and_are_refused(pixels, tmp_path):
    with open_grids(pixels, pixels.grids) as shards:
        records = list(shards.side.store)
    make_store(tmp_path / "few", [records[:6]], configuration=GRID, content="grid")
    with open_grids(pixels, tmp_path / "few") as shards:
        begun = data_of(shards)
    make_store(tmp_path / "grown", [records[:6], records[6:]], configuration=GRID, content="grid")
    with open_grids(pixels, tmp_path / "grown") as shards, pytest.raises(StoreError, match="sentences_left_out was '3"):
        require_learnt_data(shards, begun, "run")


def open_files(pixels, folder):
    return open_shards(VISUAL_PARSER, regions=None, images=[str(folder)], sentences=pixels.sentences)


def test_a_run_does_not_go_on_with_files_of_other_pictures_wherever_they_lie(pixels, tmp_path):
    moved, other = tmp_path / "moved", tmp_path / "other"
    shutil.copytree(pixels.images, moved)
    shutil.copytree(pixels.images, other)
    with Image.open(other / "03.png") as picture:
        picture.rotate(180).save(other / "03.png")
    with open_files(pixels, pixels.images) as shards:
        begun = data_of(shards)
    with open_files(pixels, moved) as shards:
        assert data_as_begun(shards, begun, "run") == begun
    with open_files(pixels, other) as shards:
        for compare in (data_as_begun, require_learnt_data, compare_with_learnt):
            with pytest.raises(StoreError, match=r"run learnt from images of content .*: other images of the same"):
                compare(shards, begun, "run")


def test_a_run_of_an_older_version_goes_on_and_says_what_cannot_be_checked(pixels, tmp_path, capsys):
    with open_files(pixels, pixels.images) as shards:
        begun = {name: value for name, value in data_of(shards).items() if name != "content"}
        assert data_as_begun(shards, begun, "runs/old") == begun
        require_learnt_data(shards, begun, "runs/old")
        compare_with_learnt(shards, begun, "runs/old")
    told = capsys.readouterr().err
    assert told.startswith("runs/old: an older version began it and recorded no content of its images; whether")
    assert told.count("\n") == 1


def test_an_older_run_on_regions_goes_on_in_silence_since_its_sentences_know_them(tmp_path, capsys):
    task = begin(learnable_stores(tmp_path / "stores"), tmp_path / "run")
    recipe = json.loads((task.run / "recipe.json").read_text())
    del recipe["data"]["content"]
    (task.run / "recipe.json").write_text(json.dumps(recipe))
    (task.run / "digests.json").unlink()
    begin((task.regions, task.sentences), task.run)
    train_run(task, Place())
    assert "recorded no content" not in capsys.readouterr().err
    assert "content" not in open_run(task.run).recipe.data


def test_measurements_and_reports_are_not_made_on_regions_of_other_pictures(stores, tmp_path):
    run, other = run_on(stores, tmp_path / "run"), other_regions(tmp_path / "other")
    given = {"sentences": stores[1], "device": "cpu"}
    for measure in (
        EvaluateCommand(source=run, regions=other, task="retrieval", **given).run,
        ProbeCommand(source=run, regions=(other,), **given).run,
        lambda: write_report(
            tmp_path / "page.html", {"run": run}, options=ReportOptions(), regions=other, sentences=stores[1]
        ),
    ):
        with pytest.raises(StoreError, match="other images, or made again since"):
            measure()


def test_a_measurement_says_that_regions_are_of_other_settings_than_those_learnt_from(stores, tmp_path, capsys):
    run = run_on(stores, tmp_path / "run")
    other = join_stores(tmp_path / "two", images(5), SENTENCES, configuration=CONFIGURATION | {"weights": "random:1"})
    with join(*other) as shards:
        compare_with_learnt(shards, open_run(run).recipe.data, run)
    assert "made with other settings; figures are of these" in capsys.readouterr().err


def test_a_probe_takes_of_stores_of_equal_settings_that_which_the_run_learnt_from(stores, tmp_path):
    run, other = open_run(run_on(stores, tmp_path / "run")), other_regions(tmp_path / "other")
    for regions in ((other, stores[0]), (stores[0], other)):
        assert ProbeCommand(source=run.folder, sentences=stores[1], regions=regions)._learnt_on(run) == stores[0]
