import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.errors import DamagedFileError
from stores.images.sources import ImageSource, ImageSources
from stores.plan import Plan, PlannedShard, read_plan, write_plan

SHARDS = [
    [
        ImageSource("a\nb", "/images/a\nb.jpg"),
        ImageSource("é\udcff", "s3://bucket/more.tar", offset=512, size=90, member="é\udcff.jpg"),
    ],
    [ImageSource("c", "/images/c.jpg")],
]
PLAN = Plan.of_shards(SHARDS)


def test_a_plan_reads_as_it_was_written(tmp_path):
    write_plan(tmp_path, PLAN)
    read = read_plan(tmp_path)
    assert read == PLAN
    assert [shard.images for shard in read] == [tuple(shard) for shard in SHARDS]
    assert read[-1] == PlannedShard("shard-00001", tuple(SHARDS[1]))
    assert read.sizes.tolist() == [2, 1]


def test_a_plan_opens_without_our_code(tmp_path):
    write_plan(tmp_path, PLAN)
    with pa.OSFile(str(tmp_path / "plan.arrow")) as file:
        rows = pa.ipc.open_file(file).read_all().to_pylist()
    assert rows[2] == {
        "shard": 1, "image_id": b"c", "url": b"/images/c.jpg", "offset": None, "size": None, "member": None,
        "version": None,
    }  # fmt: skip


def test_an_empty_plan_is_a_plan(tmp_path):
    write_plan(tmp_path, Plan.of_shards([]))
    assert list(read_plan(tmp_path)) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=9), st.integers(1, 4), st.integers(0, 9))
def test_equal_plans_have_equal_bytes_however_they_came_together(tmp_path_factory, letters, shard_size, cut):
    images = [ImageSource(each, f"/{each}", *((512, 9, each) if each == "b" else ())) for each in letters]
    parts = ImageSources.joined([ImageSources.of(images[:cut]), ImageSources.of(images[cut:])])
    folders = [tmp_path_factory.mktemp("plan") for _ in range(2)]
    write_plan(folders[0], Plan.of(parts, shard_size))
    write_plan(folders[1], Plan.of(ImageSources.of(images), shard_size))
    assert (folders[0] / "plan.arrow").read_bytes() == (folders[1] / "plan.arrow").read_bytes()
    assert read_plan(folders[0]) == Plan.of(parts, shard_size)


def test_a_shard_is_found_by_its_name_alone():
    assert [PLAN.number_of(name) for name in ("shard-00001", "shard-00002", "shard-1", "gqa-00001", "shard-")] == [
        1, None, None, None, None
    ]  # fmt: skip


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-9], lambda data: data.replace(b"c.jpg", b"d.jpg"), lambda _: b""]
)
def test_a_changed_plan_is_refused(tmp_path, damage):
    write_plan(tmp_path, PLAN)
    path = tmp_path / "plan.arrow"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(DamagedFileError, match=r"plan\.arrow: cut short or edited.* run vinculum repair"):
        read_plan(tmp_path)


def test_a_missing_plan_says_what_to_do(tmp_path):
    with pytest.raises(DamagedFileError, match=r"plan\.arrow: missing.*run vinculum extract again"):
        read_plan(tmp_path)


def test_a_location_is_the_url_or_the_member_in_its_archive():
    assert SHARDS[0][0].location == "/images/a\nb.jpg"
    assert PLAN[0].images[1].location == "s3://bucket/more.tar::é\udcff.jpg"
