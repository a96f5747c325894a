import tracemalloc

from hypothesis import given
from hypothesis import strategies as st

from annotations.repeats import SeenIds

ids = st.lists(st.text("abc\udc80", max_size=2), max_size=6)


@given(st.lists(st.lists(ids, max_size=5), max_size=6))
def test_what_an_earlier_group_had_is_repeated_however_groups_come(calls):
    seen, known, expected, found = SeenIds(), set(), [], []
    for groups in calls:
        for group in groups:
            expected.append(frozenset(group) & known)
            known |= set(group)
        found += seen.repeated(groups)
    assert found == expected


def test_an_id_takes_eight_bytes():
    tracemalloc.start()
    seen = SeenIds()
    for first in range(0, 400_000, 8192):
        seen.repeated([[f"question {number}"] for number in range(first, first + 8192)])
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 400_000 * 10
    assert seen.repeated([["question 7"], ["question -1"]]) == [{"question 7"}, frozenset()]
