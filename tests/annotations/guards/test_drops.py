import pytest

from annotations.guards.drops import DataError, Drops


def test_drops_are_counted_by_reason_and_the_first_of_each_is_kept():
    drops = Drops()
    drops.add("no name", "a.json: record 3")
    drops.add("no name", "a.json: record 8")
    drops.add("no area", "a.json: record 9")
    assert drops.counts == {"no name": 2, "no area": 1}
    assert drops.first == {"no name": "a.json: record 3", "no area": "a.json: record 9"}


def test_a_strict_drop_is_an_error():
    with pytest.raises(DataError, match=r"a\.json: record 3: no name"):
        Drops(strict=True).add("no name", "a.json: record 3")
