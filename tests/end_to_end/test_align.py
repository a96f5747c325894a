"""`vinculum align` as it stands: a small Flickr30k Entities against stored regions, one Ray cluster for all runs."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import ExifTags, Image
from ray.cluster_utils import Cluster

from annotations.alignment.targets import combine
from detectors.records import RegionFeatures
from pipeline.alignment.grown_regions import carry_over
from pipeline.cli import main
from stores.catalog import STORES
from stores.errors import StoreError
from stores.manifest import Manifest, describe_shard, read_manifest, write_manifest
from stores.sentence_reading import open_sentences
from tests.stores.builders import make_grid, make_store
from training.data.pictures import Pictures
from training.data.shards import join
from training.models.trunk import TrunkShape

ROOT = Path(__file__).parents[2]
IMAGES = [str(number) for number in range(100, 112)]
VECTORS = "dog 1 0 0\ncat .8 .6 0\ntree 0 1 0\nred 0 0 1\nbrown .6 .8 0\nman .1 .2 .9\n"
CONFIGURATION = {"detector": {"vocabulary": {"classes": ["dog", "tree", "cat,kitten"], "attributes": ["brown", "red"]}}}
CAPTIONS = """[/EN#1/people A man] and [/EN#2/animals a brown dog] near [/EN#3/scene the sea] .
[/EN#2/animals Two dogs] under [/EN#4/other a tree] .
[/EN#0/notvisual It] sleeps .
"""
XML = """<annotation>
	<filename>x.jpg</filename>
	<size><width>200</width><height>100</height><depth>3</depth></size>
	<object><name>1</name><bndbox><xmin>11</xmin><ymin>11</ymin><xmax>51</xmax><ymax>91</ymax></bndbox></object>
	<object><name>2</name><bndbox><xmin>61</xmin><ymin>41</ymin><xmax>101</xmax><ymax>81</ymax></bndbox></object>
	<object><name>2</name><name>4</name><bndbox><xmin>121</xmin><ymin>1</ymin><xmax>199</xmax><ymax>99</ymax></bndbox></object>
	<object><name>3</name><scene>1</scene><nobndbox>1</nobndbox></object>
</annotation>
"""


def make_entities(folder, images=IMAGES):
    for name in ("Sentences", "Annotations"):
        (folder / name).mkdir(parents=True)
    for image_id in images:
        (folder / "Sentences" / f"{image_id}.txt").write_text(CAPTIONS)
        (folder / "Annotations" / f"{image_id}.xml").write_text(XML)
    (folder / "train.txt").write_text("".join(f"{image_id}\n" for image_id in images[:-2]))
    (folder / "val.txt").write_text("".join(f"{image_id}\n" for image_id in images[-2:]))


def make_image(image_id):
    boxes = [[10, 10, 50, 90], [60, 40, 100, 80], [120, 0, 198, 98], [0, 0, 200, 100]]
    return RegionFeatures(
        image_id=image_id,
        image_width=200,
        image_height=100,
        boxes_xyxy=np.array(boxes, np.float32),
        features=np.zeros((4, 8), np.float16),
        class_ids=np.array([2, 0, 1, 0], np.int32),
        class_scores=np.ones(4, np.float32),
        attribute_ids=np.array([1, 0, 0, -1], np.int32),
        attribute_scores=np.ones(4, np.float32),
        selection="given",
    )


@pytest.fixture(scope="module")
def address():
    """A cluster of two cores that ends with the tests."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield cluster.address
    cluster.shutdown()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("align")
    make_entities(place / "entities")
    records = [make_image(image_id) for image_id in IMAGES]
    make_store(place / "regions", [records[:5], records[5:]], configuration=CONFIGURATION)
    (place / "vectors.txt").write_text(VECTORS)
    return place


@pytest.fixture(scope="module")
def align(place, address):
    """Run `vinculum align` into a store of `place`; return status, summary and errors."""

    def align(out, *more, annotations=("flickr30k-entities=entities",), regions="regions", vectors="vectors.txt"):
        sources = [f"{name}={place / path}" for name, path in (each.split("=") for each in annotations)]
        arguments = ["align", "--annotations", *sources, "--out", str(place / out), "--shard-size", "15"]
        arguments += ["--regions", str(place / regions)] if regions else []
        arguments += ["--vectors", str(place / vectors)] if vectors else []
        with contextlib.redirect_stdout(io.StringIO()) as told, contextlib.redirect_stderr(io.StringIO()) as errors:
            status = main([*arguments, "--address", address, "--json", *map(str, more)])
        lines = told.getvalue().splitlines()
        return status, json.loads(lines[-1]) if status == 0 else {}, errors.getvalue()

    return align


@pytest.fixture(scope="module")
def base(place, align):
    """The store that the others are held against, made by one worker; and what its run said."""
    status, summary, errors = align("base", "--workers", 1)
    assert status == 0, errors
    return place / "base", summary


def bytes_of(folder):
    """Return every file's bytes but the log of runs, which grows."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "run.jsonl"}


def notices(folder):
    """Return what the store's runs told beside what they made."""
    events = map(json.loads, (folder / "run.jsonl").read_text().splitlines())
    return [event["text"] for event in events if event["event"] == "notice"]


def test_every_caption_is_a_row_with_its_pointed_words(base):
    folder, summary = base
    with open_sentences(folder) as store:
        rows = {each.sentence.sentence_id: each for each in store}
    assert len(rows) == summary["num_sentences"] == 36
    first = rows["100#0"]
    text = first.sentence.text
    assert text == "A man and a brown dog near the sea ."
    words = first.words
    assert [text[a:b] for a, b in zip(words.starts, words.ends, strict=True)] == ["A", "man", "a", "brown", "dog"]
    assert words.position[1].tolist()[0] == 1
    assert words.oov.tolist() == [True, False, True, False, False]
    assert words.semantic[4] == pytest.approx([0.75 * 0.8, 0.75 + 0.25 * 0.6, 0.25 * 0.6, 1], abs=1e-3)
    # The last region has no attribute; its class has all of the weight.
    # The dog is in two boxes, and the second of them is the tree's as well.
    assert words.position[4].tolist()[1:3] == [1, 1]
    assert rows["110#0"].sentence.split == "val"
    assert len(rows["100#2"].words) == 0


def test_what_there_is_of_everything_is_counted(base):
    _, summary = base
    (source,) = summary["sources"]
    assert source["counts"] == {
        "images": 12,
        "sentences": 36,
        "pointers": 72,
        "boxed_pointers": 48,
        "objects": 60,
        "pointed_words": 12 * 9,
    }
    assert source["drops"] == {}
    assert source["joins"] == {"joined by number where sizes agree": 36}
    assert summary["numbering"] == "numbers among its images' ids are those of flickr30k, as their sizes tell"


def test_the_bytes_do_not_depend_on_the_workers(base, align, place):
    folder, _ = base
    assert align("two", "--workers", 2)[0] == 0
    assert bytes_of(place / "two") == bytes_of(folder)


def test_run_again_it_does_nothing(base, align):
    folder, _ = base
    before = bytes_of(folder)
    status, summary, _ = align("base")
    assert (status, summary["num_shards_made"]) == (0, 0)
    assert bytes_of(folder) == before


def test_a_damaged_shard_is_found_put_back_and_made_again(base, align, place, capsys):
    folder, _ = base
    assert align("flipped")[0] == 0
    path = next((place / "flipped").glob("shard-*1.arrow"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    assert main(["verify", str(place / "flipped")]) == 1
    assert path.name in capsys.readouterr().out
    assert main(["repair", str(place / "flipped")]) == 0
    assert align("flipped")[1]["num_shards_made"] == 1
    assert bytes_of(place / "flipped") == bytes_of(folder)
    assert main(["verify", str(place / "flipped")]) == 0
    (place / "flipped/manifest.json").write_text("{}")
    assert main(["verify", str(place / "flipped")]) == 1
    assert main(["repair", str(place / "flipped")]) == 0
    assert align("flipped")[1]["num_shards_made"] == 4
    assert bytes_of(place / "flipped") == bytes_of(folder)


def test_a_store_is_whole_when_its_sources_were_read_to_their_end(base, align, place, capsys):
    folder, _ = base
    assert main(["verify", str(folder)]) == 0
    assert align("gone-on")[0] == 0
    assert main(["verify", str(place / "gone-on")]) == 0
    assert align("gone-on")[0] == 0
    assert main(["verify", str(place / "gone-on")]) == 0
    manifest = read_manifest(folder)
    write_manifest(place / "gone-on", manifest.noting_finished(False))
    capsys.readouterr()
    assert main(["verify", str(place / "gone-on")]) == 4
    assert "unfinished" in capsys.readouterr().out


def test_other_options_into_an_existing_store_are_refused(base, align):
    status, _, errors = align("base", "--unit", "span")
    assert status == 1
    assert "semantic_unit was 'word', this run has 'span'" in errors


def test_lmdb_holds_the_same_sentences(base, align, place):
    folder, _ = base
    assert align("lmdb", "--store", "lmdb")[0] == 0
    with open_sentences(folder) as arrow, open_sentences(place / "lmdb") as lmdb:
        for one, other in zip(arrow, lmdb, strict=True):
            assert one.sentence == other.sentence
            assert one.words.semantic.tobytes() == other.words.semantic.tobytes()


def test_baked_targets_are_the_combination_of_the_criteria(align, place):
    assert align("baked", "--bake", "paper", "--top-k", 2, "--require-iou", 0.5)[0] == 0
    with open_sentences(place / "baked") as store:
        words = store.read(0, 0).words
    made = combine(words.position, words.semantic, combination="paper", top_k=2, require_iou=0.5)
    assert words.targets == pytest.approx(made.targets, abs=1e-3)
    assert words.supervised.tolist() == made.supervised.tolist()


def test_images_that_are_evaluated_elsewhere_are_not_trained_on(align, place):
    (place / "held.txt").write_text("101\n102\n")
    status, summary, errors = align("held", "--held-out", place / "held.txt")
    assert status == 0, errors
    assert summary["sources"][0]["drops"] == {"sentence: its image is evaluated elsewhere": 6}
    with open_sentences(place / "held") as store:
        assert not {"101", "102"} & {image_id for each in store for image_id in each.sentence.image_ids}


@pytest.fixture(scope="module")
def of_files(place, align):
    """Sentences of files: one is turned by its EXIF, one no picture, one not there; and what the run said."""
    (place / "photos").mkdir()
    for image_id in IMAGES[:-1]:
        Image.new("RGB", (100, 50)).save(place / f"photos/{image_id}.png")
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (50, 100)).save(place / "photos/101.png", exif=turned)
    (place / "photos/102.png").write_text("no picture")
    files = ["--images", place / "photos"]
    # Copies of another size have numbers that nothing tells of.
    assert "Say it: --ids" in align("of-files", *files, regions=None, vectors=None)[2]
    status, summary, errors = align("of-files", *files, "--ids", "flickr30k", regions=None, vectors=None)
    assert status == 0, errors
    return place / "of-files", summary


def test_sentences_of_files_point_at_boxes_in_their_pixels_and_at_no_region(of_files):
    folder, summary = of_files
    assert summary["sources"][0]["drops"] == {"sentence: image without a file that can be read": 6}
    with open_sentences(folder) as store:
        rows = {each.sentence.sentence_id: each for each in store}
    assert len(rows) == 30
    for image_id in ("100", "101"):
        first = rows[f"{image_id}#0"]
        assert [(image.width, image.height) for image in first.sentence.images] == [(100, 50)]
        assert first.sentence.pointers[0].boxes_xyxy == ((5, 5, 25, 45),)
        assert len(first.words) == 5
        assert first.words.position.shape == first.words.semantic.shape == (5, 0)
        assert first.gold_boxes(0) == ((5, 5, 25, 45),)
    assert not any(each.num_boxes[0] for each in rows.values())


def test_sentences_of_files_are_those_of_any_number_of_workers_and_of_any_store(of_files, align, place):
    folder, _ = of_files
    again = {"regions": None, "vectors": None}
    said = "--ids", "flickr30k"
    assert align("of-files-2", "--images", place / "photos", "--workers", 2, *said, **again)[0] == 0
    assert bytes_of(place / "of-files-2") == bytes_of(folder)
    assert align("of-files", "--images", place / "photos", **again)[1]["num_shards_made"] == 0
    assert align("of-files-lmdb", "--images", place / "photos", "--store", "lmdb", *said, **again)[0] == 0
    with open_sentences(folder) as arrow, open_sentences(place / "of-files-lmdb") as lmdb:
        for one, other in zip(arrow, lmdb, strict=True):
            assert one.sentence == other.sentence
            assert other.words.position.shape == one.words.position.shape


def test_sentences_of_files_join_files_and_no_regions(of_files, place, capsys):
    folder, _ = of_files
    trunk = TrunkShape(image_size=8, patch_size=2, embed_dim=8, depths=(1, 1), num_heads=(1, 1), window_size=2)
    with join(Pictures([str(place / "photos")], trunk), folder) as shards:
        assert (len(shards), shards.num_left_out) == (30, 0)
        assert len(shards.read(0).word_starts) == 0
    with pytest.raises(StoreError, match=r"of-files is about images without regions, .*give --images instead"):
        join(place / "regions", folder)
    assert main(["doctor", "--regions", str(place / "regions"), "--sentences", str(folder)]) == 1
    assert "is about files of images, expected sentences that were aligned with regions" in capsys.readouterr().err
    assert main(["inspect", str(folder), "--out", str(place / "page.html")]) == 0
    page = (place / "page.html").read_text(encoding="utf-8")
    assert '<body data-combination="code" class="no-regions">' in page
    assert "data:image/jpeg;base64," in page


def test_what_can_not_be_used_is_counted_and_named_and_ends_a_strict_run(align, place):
    make_entities(place / "bad", [*IMAGES, "999", "998"])
    (place / "bad/Annotations/103.xml").write_text(XML[:200])
    (place / "bad/Annotations/104.xml").write_text(XML.replace("<xmin>11<", "<xmin>nan<"))
    (place / "bad/Annotations/105.xml").write_text(XML.replace("<width>200", "<width>100"))
    (place / "bad/Sentences/106.txt").write_bytes(b"caf\xe9 [/EN#1/people A man]")
    (place / "bad/Sentences/107.txt").write_text("[/EN#77/people A man] .\n")
    (place / "bad/Annotations/108.xml").unlink()
    status, summary, errors = align("bad-out", annotations=["flickr30k-entities=bad"])
    assert status == 0, errors
    assert summary["sources"][0]["drops"] == {
        "image: a file is missing": 1,
        "image: annotations are no XML of this format": 1,
        "image: sentences are not UTF-8": 1,
        "box: no area inside the image": 2,
        "phrase: unknown object id": 1,
        "sentence: image of its number has another size than where it was annotated: another photograph": 3,
        "sentence: image without regions": 6,
    }
    drops = [drop for entry in read_manifest(place / "bad-out").shards for drop in entry.drops]
    assert any("Annotations/103.xml" in drop.first for drop in drops)
    assert any("annotated at 100 x 100, found at 200 x 100" in drop.first for drop in drops)
    status, _, errors = align("strict-out", "--strict", annotations=["flickr30k-entities=bad"])
    assert status == 1
    assert "bad: Annotations/103.xml" in errors or "no files of '108'" in errors


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"annotations": ["coco=entities"]}, "no such data set; did you mean refcoco? expected one of"),
        ({"annotations": ["flickr30k-entities=nowhere"]}, "no such file or folder, expected a folder with Sentences/"),
        ({"annotations": ["flickr30k-entities=regions"]}, "expected the layout of Flickr30k Entities"),
        ({"vectors": "nowhere.txt"}, "nowhere.txt"),
        ({"regions": "grids"}, "is a store of grids, whose cells have no names"),
        ({"vectors": None}, "expected --regions with --vectors, or --images"),
        ({"regions": None, "vectors": None}, "expected --regions with --vectors, or --images"),
        ({"more": ["--images", "photos"]}, "--images goes without --regions, --vectors and --bake"),
        ({"regions": "nameless"}, "its manifest has no vocabulary"),
    ],
)
def test_a_bad_setting_ends_the_run_before_it_starts(options, message, align, place):
    if not (place / "grids").exists():
        (place / "grids").mkdir()
        path = place / "grids/shard-00000.arrow"
        rows = STORES["arrow"].write_shard(path, [make_grid("a")], content="grid", configuration={})
        manifest = Manifest(content="grid", store="arrow", configuration={}, shards=(describe_shard(path, rows),))
        write_manifest(place / "grids", manifest)
        make_store(place / "nameless", [[make_image("a")]], configuration={"detector": {}})
    status, _, errors = align("refused", *options.pop("more", ()), **options)
    assert status == 1
    assert message in errors
    assert not (place / "refused").exists() or not list((place / "refused").glob("shard-*"))


@pytest.mark.parametrize(
    "options",
    [
        ("--shard-size", 0),
        ("--class-weight", 1.5),
        ("--merge-seed", -1),
        ("--merge-shares", 0, 0),
        ("--workers", 0),
        ("--top-k", 3),
        ("--bake", "code", "--top-k", 0),
    ],
    ids=str,
)
def test_an_impossible_option_is_named(options, align):
    status, _, errors = align("impossible", *options)
    assert status == 1
    assert next(option for option in reversed(options) if str(option).startswith("--")) in errors


def test_a_bad_line_of_the_vectors_is_counted_and_told(align, place):
    (place / "latin.txt").write_bytes(VECTORS.encode() + "caf\xe9 1 2 3\nshort 1\n".encode("latin-1"))
    status, summary, errors = align("latin", vectors="latin.txt")
    assert status == 0, errors
    assert sum(summary["vector_drops"].values()) == 2
    status, _, errors = align("latin-strict", "--strict", vectors="latin.txt")
    assert status == 1
    assert "latin.txt" in errors


@pytest.fixture(scope="module")
def grown(place, align):
    """Sentences of seven images, whose regions have twelve now; and what aligning with these anew gives."""
    records = [make_image(image_id) for image_id in IMAGES]
    make_store(place / "growing", [records[:7]], configuration=CONFIGURATION)
    assert align("of-seven", regions="growing")[0] == 0
    make_store(place / "growing", [records[:7], records[7:9], records[9:]], configuration=CONFIGURATION)
    assert align("anew", regions="growing")[0] == 0
    return place / "of-seven", place / "anew"


def test_aligned_again_with_regions_that_grew_only_what_is_new_is_made_and_the_bytes_are_those_of_a_new_store(
    grown, align, place, capsys
):
    old, anew = grown
    shutil.copytree(old, place / "plain")
    assert main(["doctor", "--regions", str(place / "growing"), "--sentences", str(old)]) in (0, 1)
    assert "The region store grew by 2 shards since (5 images)" in capsys.readouterr().out
    status, summary, errors = align("plain", regions="growing")
    assert (status, summary["num_shards_made"]) == (0, 2), errors
    told = "the region store grew by 2 shards since (5 images): 2 shards of sentences stay, the others are made anew"
    assert notices(place / "plain") == [told]
    assert bytes_of(place / "plain") == bytes_of(anew)
    assert main(["verify", str(place / "plain")]) == 0
    assert align("plain", regions="growing")[1]["num_shards_made"] == 0


def test_a_run_with_regions_that_grew_may_be_killed_and_a_damaged_shard_is_made_anew(grown, align, place):
    old, anew = grown
    shutil.copytree(old, place / "disturbed")
    existing, wanted = read_manifest(old), read_manifest(anew)
    first, second, *_ = existing.shards
    carried = carry_over(place / "disturbed", replace(existing, shards=(first,)), wanted)
    assert carried.shards == wanted.shards[:1]  # and is killed before it comes to the second, or to the manifest
    path = place / "disturbed" / second.name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    status, summary, errors = align("disturbed", regions="growing")
    assert (status, summary["num_shards_made"]) == (0, 3), errors
    told = "the region store grew by 2 shards since (5 images): 1 shard of sentences stays, the others are made anew"
    assert notices(place / "disturbed") == [told]
    assert bytes_of(place / "disturbed") == bytes_of(anew)


@pytest.mark.parametrize(
    ("shards", "notes", "more", "message"),
    [
        ([slice(7, 12)], None, (), "regions.sha256 was"),
        ([slice(6), slice(6, 12)], None, (), "regions.sha256 was"),
        (
            [slice(7), slice(7, 12)],
            None,
            ("--unit", "span"),
            "semantic_unit was 'word', this run has 'span'; use a new",
        ),
        ([slice(7), slice(7, 12)], {"ids": "flickr30k"}, (), "region store grew since, and whose the numbers"),
    ],
    ids=["lost", "changed", "option", "numbers"],
)
def test_regions_that_did_more_than_grow_are_refused(shards, notes, more, message, grown, align, place):
    old, _ = grown
    before = bytes_of(old)
    records = [make_image(image_id) for image_id in IMAGES]
    make_store(place / "odd", [records[each] for each in shards], configuration=CONFIGURATION, notes=notes)
    status, _, errors = align("of-seven", *more, regions="odd")
    assert status == 1
    assert message in errors
    assert bytes_of(old) == before


def start(place, out):
    command = [sys.executable, "-m", "pipeline.cli", "align", "--regions", place / "regions", "--shard-size", "3"]
    command += ["--annotations", f"flickr30k-entities={place / 'many'}", "--vectors", place / "vectors.txt"]
    return subprocess.Popen(
        [*map(str, command), "--out", str(place / out)], cwd=ROOT, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )


@pytest.mark.parametrize("victim", [pytest.param("driver", marks=pytest.mark.slow), "worker"])
def test_killed_at_any_instant_and_run_again_the_bytes_are_the_same(victim, place):
    if not (place / "many").exists():
        make_entities(place / "many")
        assert start(place, "undisturbed").wait(120) == 0
    run = start(place, f"killed-{victim}")
    while not list((place / f"killed-{victim}").glob("shard-*00002.arrow")):
        assert run.poll() is None
        time.sleep(0.01)
    if victim == "driver":
        os.kill(run.pid, signal.SIGKILL)
        run.wait()
    else:
        for each in psutil.Process(run.pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if "ray::AlignWorker" in " ".join(each.cmdline()):
                    os.kill(each.pid, signal.SIGKILL)
                    break
        assert run.wait(120) == 0
    assert start(place, f"killed-{victim}").wait(120) == 0
    assert bytes_of(place / f"killed-{victim}") == bytes_of(place / "undisturbed")
