import pytest

from pipeline.conversion.foreign_rows import distinct_rows, plan_rows
from stores.images.listing import SourceError
from stores.images.sources import ImageSource
from stores.interchange.rows import Row
from stores.plan import Plan, PlannedShard


def faults(*rows):
    return {key: row.fault for key, row in distinct_rows(rows).items()}


def test_an_id_belongs_to_the_first_row_that_can_be_read():
    cut = Row("a", "line 1", fault="3 fields, expected 10; the file is cut short here")
    assert faults(cut, Row("a", "line 2"), Row("a", "line 3")) == {
        "[line 1] a": "3 fields, expected 10; the file is cut short here",
        "a": "",
        "[line 3] a": "its image id is that of line 2 already",
    }


def test_a_row_with_a_fault_keeps_an_id_that_no_other_has():
    assert faults(Row("a", "line 1", fault="cut"), Row("a", "line 2", fault="cut")) == {"a": "cut", "[line 2] a": "cut"}


def test_a_row_without_an_id_that_a_store_can_hold_is_named_for_its_place():
    found = faults(Row("", "line 1"), Row("a" * 600, "line 2"), Row("\0a", "line 3"), Row("", "line 4", fault="cut"))
    assert list(found) == ["[line 1]", "[line 2]", "[line 3]", "[line 4]"]
    assert found["[line 1]"] == "its image id is empty"
    assert "600 UTF-8 bytes" in found["[line 2]"]
    assert "starts with NUL" in found["[line 3]"]
    assert found["[line 4]"] == "cut"


def test_a_name_for_a_place_that_is_an_image_id_is_changed():
    assert list(faults(Row("", "line 1", fault="cut"), Row("[line 1]", "line 2"))) == ["[line 1]'", "[line 1]"]


def test_rows_that_follow_one_another_share_a_shard_in_which_they_are_sorted():
    rows = distinct_rows([Row(each, "") for each in ("b", "c", "a")])
    plan = plan_rows(rows, {"c": ImageSource("c", "/photos/c.jpg")}, 2)
    assert list(plan) == [
        PlannedShard("shard-00000", (ImageSource("b", ""), ImageSource("c", "/photos/c.jpg"))),
        PlannedShard("shard-00001", (ImageSource("a", ""),)),
    ]


def test_an_existing_plan_is_kept_and_learns_of_pictures():
    existing = Plan.of_shards([[ImageSource("a", "/old/a.jpg"), ImageSource("b", "")]])
    rows = distinct_rows([Row("a", ""), Row("b", "")])
    assert plan_rows(rows, {}, 1, existing) == existing
    (shard,) = plan_rows(rows, {"b": ImageSource("b", "/new/b.jpg")}, 1, existing)
    assert [each.url for each in shard.images] == ["/old/a.jpg", "/new/b.jpg"]


def test_a_plan_of_other_rows_is_refused():
    existing = Plan.of_shards([[ImageSource("gone", "")]])
    with pytest.raises(SourceError, match="'gone' is planned in this store"):
        plan_rows(distinct_rows([Row("a", "")]), {}, 1, existing)
