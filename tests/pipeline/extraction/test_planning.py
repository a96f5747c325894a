import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.extraction.planning import plan_shards, remark_on_absent, remark_on_sizes
from pipeline.inputs.changed import compare_inputs
from stores.images.listing import SourceError
from stores.images.sources import ImageSource, ImageSources
from stores.manifest import Manifest
from stores.places import FolderPlace
from stores.plan import Plan

NOTHING_MADE = Manifest(content="regions", store="arrow", configuration={})

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


def test_images_that_are_not_listed_any_more_are_counted():
    before, after = sources("abcde"), sources("bdf")
    plan = plan_shards(after, 2, plan_shards(before, 2))
    assert remark_on_absent(plan, after) == (
        "3 images of the store are no longer among --images: they stay as they are",
    )
    assert remark_on_absent(plan_shards(before, 2), before) == ()


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
    new = plan_shards(ImageSources.of([ImageSource("7", "/two/7.jpg")]), 4, old)
    with pytest.raises(SourceError, match=r"image id '7' .*one/7\.jpg.*/two/7\.jpg.*a new --out, or a \.tsv list"):
        compare_inputs(old, new, NOTHING_MADE, FolderPlace(tmp_path))
    first.unlink()
    assert len(compare_inputs(old, new, NOTHING_MADE, FolderPlace(tmp_path)).changed) == 0


def test_an_id_that_another_archive_member_has_is_refused(tmp_path):
    (tmp_path / "photos.tar").write_bytes(bytes(510) + b"first" + bytes(1500) + b"other" + bytes(500))
    old = Plan.of_shards([[ImageSource("7", f"{tmp_path}/photos.tar", 510, 5, "a/7.jpg")]])
    other = ImageSources.of([ImageSource("7", f"{tmp_path}/photos.tar", 2015, 5, "b/7.jpg")])
    with pytest.raises(SourceError, match=r"a/7\.jpg.*b/7\.jpg"):
        compare_inputs(old, plan_shards(other, 4, old), NOTHING_MADE, FolderPlace(tmp_path))


@pytest.mark.parametrize(
    ("sizes", "asked", "said"),
    [
        ([2, 2, 1], 2, ""),
        ([3, 1], 8, ""),  # the last shard takes what there is
        ([8, 8, 3], 4, "--shard-size 4: the store's shards keep their 8 images, and there are no new ones"),
        ([2, 2, 1], 8, "--shard-size 8: the store's shards keep their 2 images, and its 1 new ones have up to 8"),
        ([9], 8, "--shard-size 8: the store's shards keep their 9 images, and there are no new ones"),
    ],
)
def test_another_size_of_shards_is_said_not_passed_over(sizes, asked, said):
    names = [f"{number:02}" for number in range(sum(sizes))]
    starts = np.cumsum([0, *sizes])
    existing = Plan(sources(names), starts)
    more = ["more"] if "new ones have" in said else []
    plan = plan_shards(sources([*names, *more]), asked, existing)
    assert remark_on_sizes(existing, plan, asked) == ((said,) if said else ())
