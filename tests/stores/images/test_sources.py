import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stores.images.sources import ClaimedTwiceError, ImageSource, ImageSources

letters = st.lists(st.sampled_from("abcdé𝄞ﬁ"), max_size=12)
few = settings(max_examples=80, deadline=None)
ODD = ImageSource("a\udcff", "/a\udcff.jpg")
MEMBER = ImageSource("b", "/all.tar", 512, 90, "b.jpg")


def sources(ids):
    return [ImageSource(each, f"/{each}.jpg") for each in ids]


def test_columns_hold_what_objects_do_names_that_are_not_utf8_too():
    columns = ImageSources.of([ODD, MEMBER])
    assert list(columns) == [ODD, MEMBER]
    assert columns[-1] == MEMBER
    assert list(columns[1:]) == [MEMBER]
    assert list(columns[::-1]) == [MEMBER, ODD]
    assert columns.image_ids() == ["a\udcff", "b"]
    assert columns == ImageSources.of([ODD, MEMBER])
    assert columns != ImageSources.of([MEMBER, ODD])
    with pytest.raises(IndexError):
        columns[2]


@few
@given(letters)
def test_ordered_sources_ascend_by_the_bytes_of_their_ids_and_are_there_once(ids):
    ordered = ImageSources.of(sources(ids)).in_order()
    assert ordered.image_ids() == sorted(set(ids), key=str.encode)
    assert ordered.is_ascending()


@few
@given(letters)
def test_distinct_ids_are_counted(ids):
    assert ImageSources.of(sources(ids)).num_distinct() == len(set(ids))


def test_two_sources_of_one_id_are_refused_whichever_came_first():
    with pytest.raises(ClaimedTwiceError, match=r"id 'b' is claimed by '/all\.tar::b\.jpg' and by '/z/b\.jpg'"):
        ImageSources.of([*sources("ca"), ImageSource("b", "/z/b.jpg"), MEMBER]).in_order()


def test_a_source_is_found_by_its_id():
    columns = ImageSources.of([*sources("xay"), ODD])
    assert columns.find("a\udcff") == ODD
    assert columns.find("y") == ImageSource("y", "/y.jpg")
    assert columns.find("z") is None


@few
@given(letters, letters)
def test_rows_are_where_ids_are(here, there):
    here = list(dict.fromkeys(here))
    rows = ImageSources.of(sources(here)).rows_of(ImageSources.of(sources(there)))
    assert rows.tolist() == [here.index(each) if each in here else -1 for each in there]


def test_any_column_may_differ():
    base = [ImageSource("b", "/all.tar", 512, 90, "b.jpg")] * 6
    others = [
        base[0],
        ImageSource("c", "/all.tar", 512, 90, "b.jpg"),
        ImageSource("b", "/most.tar", 512, 90, "b.jpg"),
        ImageSource("b", "/all.tar", 513, 90, "b.jpg"),
        ImageSource("b", "/all.tar", 512, None, "b.jpg"),
        ImageSource("b", "/all.tar", 512, 90, None),
    ]
    assert ImageSources.of(base).differs(ImageSources.of(others)).tolist() == [False] + 5 * [True]
    assert not ImageSources.of([ODD]).differs(ImageSources.of([ODD])).any()


def test_replaced_rows_are_those_of_others():
    columns = ImageSources.of(sources("abc")).replaced(np.array([2, 0]), ImageSources.of(sources("xy")))
    assert columns.image_ids() == ["y", "b", "x"]
