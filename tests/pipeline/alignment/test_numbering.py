"""Whose the numbers of a store are is said, told or proven by sizes; else nothing is aligned."""

import json

import pytest

from annotations.datasets.catalog import DATA_SETS
from pipeline.alignment.align import align
from pipeline.alignment.annotation_sources import AnnotationSource
from pipeline.alignment.job import AlignmentJob
from pipeline.alignment.numbering import BEFORE, settle_numbering, tell_numbering
from stores.errors import StoreError
from stores.layouts import RegionLayouts
from stores.manifest import Manifest, ShardEntry
from stores.numbering import Numbering
from tests.stores.builders import make_regions, make_store

NUMBERS = ["9", "42", "139", "150367"]
ENTRY = ShardEntry(name="shard-00-x-00000.arrow", rows=1, bytes=1, sha256="")


@pytest.fixture
def layouts(tmp_path):
    """A store of COCO's photographs under their numbers, as bottom-up-attention's files have them: 640 x 480."""

    def layouts(notes=None, image_ids=NUMBERS):
        make_store(tmp_path / "regions", [[make_regions(each) for each in sorted(image_ids)]], notes=notes)
        return RegionLayouts(tmp_path / "regions")

    return layouts


@pytest.fixture
def coco(tmp_path):
    """COCO's captions of these photographs."""

    def coco(width=640, height=480):
        path = tmp_path / "captions_train2014.json"
        images = [
            {"id": int(each), "file_name": f"COCO_train2014_{int(each):012d}.jpg", "width": width, "height": height}
            for each in NUMBERS
        ]
        annotations = [{"id": number, "image_id": int(each), "caption": "a man"} for number, each in enumerate(NUMBERS)]
        path.write_text(json.dumps({"images": images, "annotations": annotations}))
        return DATA_SETS["coco-captions"], path

    return coco


@pytest.fixture
def genome(tmp_path):
    """Other photographs that Visual Genome has under the same numbers, of another size."""

    def genome(width=800, height=600):
        folder = tmp_path / "vg"
        folder.mkdir(exist_ok=True)
        regions = [
            {
                "id": int(each),
                "regions": [{"region_id": int(each), "image_id": int(each), "x": 1, "y": 1, "width": 9, "height": 9}],
            }
            for each in NUMBERS
        ]
        for record in regions:
            record["regions"][0]["phrase"] = "a red hat"
        sizes = [{"image_id": int(each), "width": width, "height": height, "coco_id": None} for each in NUMBERS]
        (folder / "region_descriptions.json").write_text(json.dumps(regions))
        (folder / "image_data.json").write_text(json.dumps(sizes))
        return DATA_SETS["visual-genome"], folder

    return genome


def settle(layouts, *sources, said=None, existing=None):
    return settle_numbering(layouts, "regions", said, sources, existing)


def test_nobody_tells_and_the_sizes_differ(layouts, genome):
    with pytest.raises(StoreError, match=r"images have numbers such as '139'.*whose") as raised:
        settle(layouts(), genome())
    assert "of visual-genome, 0 images have the size at which they were annotated, 4 have not" in str(raised.value)
    assert "is 640 x 480, annotated at 800 x 600" in str(raised.value)
    assert "--ids coco | visual-genome | flickr30k | own" in str(raised.value)


def test_what_the_error_advises_helps(layouts, genome):
    assert settle(layouts(), genome(), said="coco")[0] == Numbering(ids=frozenset({"coco"}))


def test_nobody_tells_and_no_size_is_known(layouts, tmp_path):
    pairs = tmp_path / "snli_ve_train.jsonl"
    pair = {"Flickr30K_ID": "42", "pairID": "1", "gold_label": "neutral", "sentence2": "a dog"}
    pairs.write_text(json.dumps(pair) + "\n")
    with pytest.raises(StoreError, match=r"of flickr30k, 0 images .* of 1 it is not known"):
        settle(layouts(), (DATA_SETS["snli-ve"], pairs))


def test_sizes_tell_whose_numbers_they_are(layouts, coco, genome):
    numbering, notes = settle(layouts(), coco(), genome())
    assert numbering == Numbering(ids=frozenset({"coco"}), by_size=True)
    assert tell_numbering(notes) == "numbers among its images' ids are those of coco, as their sizes tell"


def test_one_world_that_several_describe_is_all_theirs(layouts, coco, genome):
    numbering, _ = settle(layouts(), coco(), genome(640, 480))
    assert numbering.ids == {"coco", "visual-genome"}


def test_two_images_of_one_size_prove_nothing(layouts, coco):
    with pytest.raises(StoreError, match="2 images have the size"):
        settle(layouts(image_ids=["9", "42", "7"]), coco())


def test_the_store_tells(layouts, genome):
    numbering, notes = settle(layouts(notes={"ids": "visual-genome"}), genome())
    assert numbering == Numbering(ids=frozenset({"visual-genome"}))
    assert "as the images' store or their range tells" in tell_numbering(notes)


def test_what_is_said_against_the_store_is_refused(layouts):
    with pytest.raises(StoreError, match="--ids is coco, but regions has numbers of visual-genome"):
        settle(layouts(notes={"ids": "visual-genome"}), said="coco")


def test_what_is_said_counts_more_than_a_range(layouts):
    store = layouts(image_ids=[str(number) for number in range(2_370_000, 2_370_020)])
    assert settle(store)[0] == Numbering(ids=frozenset({"visual-genome"}))
    assert settle(store, said="own")[0] == Numbering(ids=frozenset({"own"}))


def test_numbers_that_no_sentence_is_about_need_not_be_told(layouts, coco):
    numbering, _ = settle(layouts(image_ids=["7", "COCO_train2014_000000000009"]), coco())
    assert numbering == Numbering()


def test_a_number_to_hold_out_that_may_be_two_photographs_is_refused(layouts, coco, genome, tmp_path):
    names = [f"COCO_train2014_{int(each):012d}" for each in NUMBERS]
    vocabulary = {"detector": {"vocabulary": {"classes": ["hat"], "attributes": ["red"]}}}
    regions = [make_regions(each, num_boxes=1) for each in names]
    make_store(tmp_path / "named", [regions], configuration=vocabulary)
    (tmp_path / "vectors.txt").write_text("hat 1 0\nred 0 1\n")
    held_out = tmp_path / "held_out.txt"
    held_out.write_text("COCO_train2014_000000000042\n9\n")
    sources = [("coco-captions", coco()[1]), ("visual-genome", genome()[1])]
    job = AlignmentJob(
        annotations=tuple(AnnotationSource(name=name, path=path) for name, path in sources),
        regions=tmp_path / "named",
        vectors=tmp_path / "vectors.txt",
        held_out=(held_out,),
        out=tmp_path / "out",
    )
    with pytest.raises(ValueError, match=r"'9' may be a number of coco, visual-genome; .*`visual-genome 9`"):
        align(job)
    assert not (tmp_path / "out").exists()


def test_a_store_of_sentences_goes_on_with_what_it_was_begun_with(layouts, coco):
    first, notes = settle(layouts(), coco())
    begun = Manifest(content="sentences", store="arrow", configuration={}, shards=(ENTRY,), notes=notes)
    assert settle(layouts(), existing=begun) == (first, notes)
    with pytest.raises(StoreError, match="--ids is own, but the store was begun with numbers of coco"):
        settle(layouts(), said="own", existing=begun)


def test_an_older_store_of_sentences_goes_on_as_before_and_says_so(layouts):
    old = Manifest(content="sentences", store="arrow", configuration={}, shards=(ENTRY,))
    numbering, notes = settle(layouts(), existing=old)
    assert (numbering, notes) == (BEFORE, {})
    assert "not known: equal ones were joined" in tell_numbering(notes)
