"""A second file walked alongside a first: what it lacks, and what waits."""

from hypothesis import given
from hypothesis import strategies as st

from annotations.datasets.in_step import InStep

KEYS = "abcdefghij"


class Stream:
    """A stream of keys and their capitals that knows how far it was read."""

    def __init__(self, keys):
        self.keys = keys
        self.num_read = 0
        self.num_listings = 0

    def pairs(self):
        for key in self.keys:
            self.num_read += 1
            yield key, key.upper()

    def listed(self):
        self.num_listings += 1
        yield from self.keys

    def walk(self):
        return InStep(self.pairs(), keys=self.listed)


def test_files_in_one_order_are_read_as_far_as_asked_for():
    stream = Stream(KEYS)
    walk = stream.walk()
    assert [(walk.take(key), stream.num_read) for key in "abc"] == [("A", 1), ("B", 2), ("C", 3)]
    assert stream.num_listings == 0


def test_a_key_that_the_stream_lacks_is_not_looked_for_to_its_end():
    stream = Stream("bcdefghij")
    walk = stream.walk()
    assert walk.take("a") is None
    assert [(walk.take(key), stream.num_read) for key in "bcd"] == [("B", 1), ("C", 2), ("D", 3)]
    assert (walk.take("z"), stream.num_read) == (None, 3)
    assert stream.num_listings == 1


def test_a_key_that_comes_later_is_found_and_what_comes_before_it_waits():
    walk = Stream("cab").walk()
    assert [walk.take(key) for key in "abc"] == ["A", "B", "C"]


def test_what_nobody_asked_for_is_left():
    walk = Stream("abc").walk()
    assert walk.take("b") == "B"
    assert list(walk.rest()) == [("a", "A"), ("c", "C")]


@given(st.permutations(KEYS), st.permutations(KEYS), st.integers(0, 10), st.integers(0, 10))
def test_every_key_has_its_value_in_any_order(there, asked, num_there, num_asked):
    there, asked = there[:num_there], asked[:num_asked]
    for walk in (Stream(there).walk(), InStep(Stream(there).pairs())):
        assert [walk.take(key) for key in asked] == [key.upper() if key in there else None for key in asked]
        assert {key for key, _ in walk.rest()} == set(there) - set(asked)
