"""Which shards of sentences stay when the regions have grown, and by how much these have."""

from dataclasses import replace

import pytest

from pipeline.alignment.drop_reasons import ANOTHERS_NUMBER, BAD_ID, NO_REGIONS, OTHER_PROPORTIONS, OTHER_SIZE, REPEATED
from pipeline.alignment.grown_regions import Growth, carry_over, growth_since
from pipeline.inputs.identity import identity_of_store
from stores.catalog import STORES
from stores.manifest import DropCount, Manifest, describe_shard, write_manifest
from tests.stores.builders import make_regions, make_store
from tests.stores.formats.test_sentence_store import align, make_sentence
from tests.stores.version_one import make_shard_old
from tests.stores.version_two import make_sentence_shard_old

OLD, NEW = ({"regions": {"fingerprint": "f", "sha256": digit * 64}} for digit in "01")
ELSEWHERE = "sentence: its image is evaluated elsewhere"


def make_store_of_one(folder, *, reason=None, counts=None):
    """Return the manifest of a store with one sentence, of which this was dropped and so many images were joined."""
    path = folder / "shard-00-x-00000.arrow"
    rows = STORES["arrow"].write_sentences(path, [align([make_sentence("1")])], configuration=OLD)
    drops = (DropCount(reason=reason, count=1, first="here"),) if reason else ()
    entry = replace(describe_shard(path, rows), drops=drops, counts={"joined_by_id": 1} if counts is None else counts)
    manifest = Manifest(content="sentences", store="arrow", configuration=OLD, shards=(entry,))
    write_manifest(folder, manifest)
    return manifest


def carried(folder, existing, configuration=NEW):
    return carry_over(folder, existing, Manifest(content="sentences", store="arrow", configuration=configuration))


@pytest.mark.parametrize("counts", [{"joined_by_id": 1}, {"joined_by_size": 1}, {"joined_by_id": 1, "regions": 9}])
@pytest.mark.parametrize("reason", [None, ELSEWHERE, "box: no area inside the image"])
def test_a_shard_stays_whose_images_are_all_there_and_found_first(reason, counts, tmp_path):
    existing = make_store_of_one(tmp_path, reason=reason, counts=counts)
    (before,) = existing.shards
    (entry,) = carried(tmp_path, existing).shards
    assert (entry.drops, entry.counts, entry.rows) == (before.drops, before.counts, 1)
    assert entry.sha256 != before.sha256
    with STORES["arrow"].open_shard(tmp_path / entry.name) as shard:
        assert shard.description.configuration == NEW
        assert shard.read_sentence(0).sentence == make_sentence("1")


@pytest.mark.parametrize("reason", [NO_REGIONS, ANOTHERS_NUMBER, OTHER_SIZE, OTHER_PROPORTIONS, REPEATED, BAD_ID])
def test_a_shard_that_more_images_may_change_does_not_stay_by_its_drops(reason, tmp_path):
    assert_untouched(tmp_path, make_store_of_one(tmp_path, reason=reason))


@pytest.mark.parametrize("rule", ["number", "coco_number", "coco_id"])
def test_a_shard_that_more_images_may_change_does_not_stay_by_its_joins(rule, tmp_path):
    assert_untouched(tmp_path, make_store_of_one(tmp_path, counts={"joined_by_id": 1, f"joined_by_{rule}": 1}))


def test_a_shard_that_does_not_tell_how_images_were_found_does_not_stay(tmp_path):
    assert_untouched(tmp_path, make_store_of_one(tmp_path, counts={}))


@pytest.mark.parametrize("make_old", [make_shard_old, make_sentence_shard_old])
def test_a_shard_of_an_older_version_does_not_stay(make_old, tmp_path):
    existing = make_store_of_one(tmp_path)
    (entry,) = existing.shards
    make_old(tmp_path / entry.name)
    again = replace(describe_shard(tmp_path / entry.name, 1), counts=entry.counts)
    assert_untouched(tmp_path, replace(existing, shards=(again,)))


def test_a_shard_of_other_rows_than_the_manifest_names_does_not_stay(tmp_path):
    existing = make_store_of_one(tmp_path)
    (entry,) = existing.shards
    path = tmp_path / entry.name
    STORES["arrow"].write_sentences(path, [align([make_sentence("2")])], configuration=OLD)
    assert_untouched(tmp_path, existing)


def test_what_a_killed_run_has_carried_over_is_taken_unless_the_regions_grew_once_more(tmp_path):
    existing = make_store_of_one(tmp_path)
    once = carried(tmp_path, existing)
    assert carried(tmp_path, existing) == once
    assert carried(tmp_path, existing, {"regions": {"fingerprint": "f", "sha256": "2" * 64}}).shards == ()


def test_a_store_has_grown_if_it_has_all_that_it_had_and_more(tmp_path):
    one, two, other = [make_regions("a"), make_regions("b")], [make_regions("c")], [make_regions("a", seed=3)]
    recorded = identity_of_store(make_store(tmp_path / "regions", [one]))
    assert growth_since(make_store(tmp_path / "regions", [one, two]), recorded) == Growth(num_shards=1, num_images=1)
    assert growth_since(make_store(tmp_path / "regions", [one]), recorded) is None
    assert growth_since(make_store(tmp_path / "others", [other, two]), recorded) is None
    assert growth_since(make_store(tmp_path / "settings", [one, two], configuration={}), recorded) is None
    for unknown in ({}, {"fingerprint": recorded["fingerprint"]}):
        assert growth_since(make_store(tmp_path / "regions", [one, two]), unknown) is None


def assert_untouched(folder, existing):
    """No shard stays, and no file has changed."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert carried(folder, existing).shards == ()
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
