import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.planning import plan_shards
from stores.image_listing import SourceError
from stores.image_sources import ImageSource, ImageSources
from stores.plan import Plan

names = st.lists(st.text("abcé7", min_size=1, max_size=4), unique=True, max_size=30)
few = settings(max_examples=60, deadline=None)


def sources(image_ids, folder="/nowhere"):
    return ImageSources.of(ImageSource(each, f"{folder}/{each}.jpg") for each in sorted(image_ids, key=str.encode))


def planned_ids(plan):
    return [[image.image_id for image in shard.images] for shard in plan]


def test_images_are_dealt_in_order_and_the_last_shard_takes_the_rest():
    plan = plan_shards(sources("abcde"), 2)
    assert planned_ids(plan) == [["a", "b"], ["c", "d"], ["e"]]
    assert [shard.name for shard in plan] == ["shard-00000", "shard-00001", "shard-00002"]


def test_new_images_go_into_new_shards_even_where_the_last_one_has_room():
    plan = plan_shards(sources("abcde"), 2, plan_shards(sources("bd"), 3))
    assert planned_ids(plan) == [["b", "d"], ["a", "c"], ["e"]]


@few
@given(names, st.integers(1, 7))
def test_every_image_is_planned_once_and_always_alike(image_ids, shard_size):
    plan = plan_shards(sources(image_ids), shard_size)
    assert plan == plan_shards(sources(image_ids), shard_size)
    assert [each for shard in planned_ids(plan) for each in shard] == sorted(image_ids, key=str.encode)
    assert all(0 < len(shard.images) <= shard_size for shard in plan)


@few
@given(names, names, st.integers(1, 7), st.integers(1, 7))
def test_a_growing_or_shrinking_input_never_reshuffles(before, after, first_size, second_size):
    old = plan_shards(sources(before), first_size)
    new = plan_shards(sources(after), second_size, old)
    assert new[: len(old)] == old
    flat = [each for shard in planned_ids(new) for each in shard]
    assert sorted(flat) == sorted({*before, *after})
    assert [shard.name for shard in new] == [f"shard-{number:05d}" for number in range(len(new))]
    assert plan_shards(sources(after), first_size, new) == new


@few
@given(names, st.sets(st.integers(0, 29)), st.integers(1, 7))
def test_moved_images_are_planned_where_they_are_now(image_ids, moved, shard_size):
    here = sources(image_ids)
    there = ImageSources.of(
        ImageSource(each.image_id, f"/new/{each.image_id}") if i in moved else each for i, each in enumerate(here)
    )
    old = plan_shards(here, shard_size)
    new = plan_shards(there, shard_size, old)
    assert planned_ids(new) == planned_ids(old)
    assert new.images == there


def test_a_repacked_archive_gives_the_new_offset():
    old = Plan.of_shards([[ImageSource("7", "/photos.tar", 512, 10, "7.jpg")]])
    (shard,) = plan_shards(ImageSources.of([ImageSource("7", "/photos.tar", 2048, 11, "7.jpg")]), 4, old)
    assert shard.images == (ImageSource("7", "/photos.tar", 2048, 11, "7.jpg"),)


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_an_id_that_another_existing_file_has_is_refused_and_both_are_named(tmp_path, scheme):
    first = tmp_path / "one/7.jpg"
    first.parent.mkdir()
    first.write_bytes(b"one")
    old = plan_shards(ImageSources.of([ImageSource("7", f"{scheme}{first}")]), 4)
    other = ImageSources.of([ImageSource("7", "/two/7.jpg")])
    with pytest.raises(SourceError, match=r"image id '7' .*one/7\.jpg.*/two/7\.jpg"):
        plan_shards(other, 4, old)
    first.unlink()
    assert plan_shards(other, 4, old)[0].images == tuple(other)


def test_an_id_that_another_archive_member_has_is_refused(tmp_path):
    (tmp_path / "photos.tar").touch()
    old = Plan.of_shards([[ImageSource("7", f"{tmp_path}/photos.tar", 512, 10, "a/7.jpg")]])
    with pytest.raises(SourceError, match=r"a/7\.jpg.*b/7\.jpg"):
        plan_shards(ImageSources.of([ImageSource("7", f"{tmp_path}/photos.tar", 1536, 10, "b/7.jpg")]), 4, old)
