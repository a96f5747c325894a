import pytest

from stores.errors import DamagedFileError
from stores.plan import ImageSource, PlannedShard, read_plan, write_plan

PLAN = (
    PlannedShard(
        "shard-00000",
        (
            ImageSource("a\nb", "/images/a\nb.jpg"),
            ImageSource("é", "s3://bucket/more.tar", offset=512, size=90, member="é.jpg"),
        ),
    ),
    PlannedShard("shard-00001", ()),
)


def test_a_plan_reads_as_it_was_written(tmp_path):
    write_plan(tmp_path, (shard for shard in PLAN))
    assert read_plan(tmp_path) == PLAN


def test_a_plan_has_one_readable_line_per_shard_and_a_seal(tmp_path):
    write_plan(tmp_path, PLAN)
    lines = (tmp_path / "plan.jsonl").read_text().splitlines()
    assert lines[0] == (
        '{"images":[["a\\nb","/images/a\\nb.jpg"],["é","s3://bucket/more.tar",512,90,"é.jpg"]],"shard":"shard-00000"}'
    )
    assert lines[1] == '{"images":[],"shard":"shard-00001"}'
    assert lines[2].startswith('{"sha256":"')
    assert lines[2].endswith('","shards":2}')


def test_an_empty_plan_is_a_plan(tmp_path):
    write_plan(tmp_path, [])
    assert read_plan(tmp_path) == ()


@pytest.mark.parametrize(
    "damage",
    [
        lambda lines: lines[:-1],
        lambda lines: lines[1:],
        lambda lines: [*lines[:-1], lines[-1].rstrip()],
        lambda lines: [lines[0].replace(b"512", b"513"), *lines[1:]],
        lambda lines: [b"\xff\n", *lines[1:]],
        lambda lines: [],
    ],
)
def test_a_changed_plan_is_refused(tmp_path, damage):
    write_plan(tmp_path, PLAN)
    path = tmp_path / "plan.jsonl"
    path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(DamagedFileError, match=r"plan\.jsonl: cut short or edited .* run vinculum repair"):
        read_plan(tmp_path)


def test_a_missing_plan_says_what_to_do(tmp_path):
    with pytest.raises(DamagedFileError, match=r"plan\.jsonl: missing.*run vinculum extract again"):
        read_plan(tmp_path)


def test_a_location_is_the_url_or_the_member_in_its_archive():
    assert PLAN[0].images[0].location == "/images/a\nb.jpg"
    assert PLAN[0].images[1].location == "s3://bucket/more.tar::é.jpg"
