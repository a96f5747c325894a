import builtins
import os
import pickle
import tracemalloc
from collections import OrderedDict
from contextlib import suppress
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from annotations.guards import restricted_pickle
from annotations.guards.drops import DataError
from annotations.guards.restricted_pickle import load_restricted


class Calls:
    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def load(content, **options):
    return load_restricted(BytesIO(content), place="refs.p", **options)


def dump_and_load(value, protocol):
    return load(pickle.dumps(value, protocol=protocol))


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=8,
)


@pytest.mark.parametrize("protocol", range(6))
@given(value=plain)
@settings(max_examples=20)
def test_plain_values_come_back_in_every_protocol(value, protocol):
    assert dump_and_load(value, protocol) == value


@pytest.mark.parametrize("protocol", range(6))
def test_sets_and_ordered_dicts_come_back(protocol):
    value = OrderedDict(a={1, 2}, b=bytearray(b"x"))
    assert dump_and_load(value, protocol) == value


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", ["float32", ">f4", "int64", "bool", "U3", "S2"])
def test_arrays_and_scalars_come_back(dtype, protocol):
    array = np.array([[1, 0, 2], [0, 1, 1]]).astype(dtype)
    for given_array in (array, np.asfortranarray(array), array[:0]):
        loaded = dump_and_load(given_array, protocol)
        assert loaded.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
        np.testing.assert_array_equal(loaded, given_array)
    assert dump_and_load(array[0, 0], protocol) == array[0, 0]


def test_strings_of_python_2_are_text():
    assert load(b"(dp0\nS'sent'\np1\nS'caf\\xe9'\np2\ns.") == {"sent": "café"}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    ("function", "name"), [(os.system, "system"), (builtins.eval, "eval"), (getattr, "getattr"), (np.load, "load")]
)
def test_what_calls_anything_else_is_refused_and_not_run(function, name, protocol, tmp_path):
    done = tmp_path / "done"
    argument = f"touch {done}" if function is os.system else f"open({str(done)!r}, 'w')"
    with pytest.raises(DataError, match=rf"refs\.p: the pickle names \w+\.{name}, expected plain values and arrays"):
        dump_and_load(["harmless", Calls(function, argument)], protocol)
    assert not done.exists()


def test_an_attribute_of_an_admitted_name_is_refused():
    content = b"\x80\x04\x8c\x05numpy\x8c\x10ndarray.__init__\x93."
    with pytest.raises(DataError, match=r"numpy\.ndarray\.__init__"):
        load(content)


@pytest.mark.parametrize("protocol", range(6))
def test_an_array_of_plain_objects_comes_back(protocol):
    array = np.array([{"ids": np.arange(2)}, "a", None], object)
    loaded = dump_and_load(array, protocol)
    assert loaded.dtype == object
    assert loaded[0]["ids"].tolist() == [0, 1]
    assert loaded[1:].tolist() == ["a", None]
    assert dump_and_load(np.array({"a": 1}, object), protocol).item() == {"a": 1}


def test_an_array_that_claims_more_objects_than_it_holds_is_refused():
    content = pickle.dumps(np.array([7, 8, 9, "a"], object), protocol=2)
    assert content.count(b"K\x04\x85") == 1
    with pytest.raises(DataError, match=r"an array \(200,\) of objects"):
        load(content.replace(b"K\x04\x85", b"K\xc8\x85"))


def test_an_array_of_dates_is_refused():
    with pytest.raises(DataError, match="an array of M8, expected numbers, text or objects"):
        dump_and_load(np.array(["2020-01-01"], "M8[D]"), 2)


def test_an_array_that_claims_more_than_it_holds_is_refused():
    content = pickle.dumps(np.arange(4, dtype=np.float32), protocol=2)
    assert content.count(b"K\x04\x85") == 1
    with pytest.raises(DataError, match=r"an array \(200,\) of float32 has 16 bytes"):
        load(content.replace(b"K\x04\x85", b"K\xc8\x85"))


@pytest.mark.parametrize("content", [b"", b"no pickle", b"\x80\x02]q\x00(", b"\x80\x63.", b"0.", b"h\x05."])
def test_a_damaged_pickle_is_a_clear_error(content):
    with pytest.raises(DataError, match=r"refs\.p: not a whole pickle of plain values"):
        load(content)


@pytest.mark.parametrize(
    ("content", "loaded"),
    [
        (b"\x80\x02K\x01r\xff\xff\xff\x7f.", 1),  # remembered as number 2147483647
        (b"\x80\x05\x96\x02\x00\x00\x00\x00\x00\x00\x00ab.", bytearray(b"ab")),
        (b"\x80\x05\x96\x02\x00\x00\x00\x02\x00\x00\x00ab.", None),  # 8 GB that are not there
    ],
)
def test_no_room_is_made_for_what_a_pickle_only_claims(content, loaded):
    tracemalloc.start()
    try:
        if loaded is None:
            with pytest.raises(DataError, match="not a whole pickle"):
                load(content)
        else:
            assert load(content) == loaded
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()


GLOBALS = {"bytearray": b"cbuiltins\nbytearray\n", "bytes": b"cbuiltins\nbytes\n", "array": b"cnumpy\nndarray\n"}
ONE_PAIR = b"h\x00h\x00\x86q\x00"  # a pair of the last pair twice, remembered in its place


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (GLOBALS["bytearray"] + b"J\xff\xff\xff\x7f\x85R.", "bytes of a int"),
        (GLOBALS["bytes"] + b"J\xff\xff\xff\x7f\x85R.", "bytes of a int"),
        (GLOBALS["array"] + b"J\xff\xff\xff\x7f\x85\x85R.", "not callable"),
        (b"](" * 1000 + b"e" * 1000 + b".", "more than 64 containers in one another"),
        (b"\x80\x02]q\x00h\x00a.", "more than 64 containers in one another"),  # a list in itself
        (b"\x80\x02)q\x00" + ONE_PAIR * 60 + b".", "more than .* values and characters where repetitions"),
        (b"\x80\x02})q\x000" + (ONE_PAIR + b"0") * 60 + b"h\x00K\x01s.", "a tuple as a key"),
        (b"\x80\x04\x8f(" + b")\x85" * 9 + b"\x90.", "a tuple as a key"),
        (b"\x80\x02}" + b")" + b"\x85" * 100_000 + b"K\x01s.", "a tuple as a key"),  # whose hash is in the C stack
        (b"c_codecs\nencode\n}U\x0c__defaults__)sb.", "a state for a function"),
        (b"K\x01K\x02a.", "elements for a int"),
    ],
)
def test_what_would_take_memory_or_time_without_end_is_refused(content, cause):
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=rf"refs\.p: not a whole pickle of plain values \(\w+: .*{cause}"):
            load(content)
        assert tracemalloc.get_traced_memory()[1] < 200 * len(content) + 1e6
    finally:
        tracemalloc.stop()


def test_a_pickle_of_too_many_instructions_is_refused(monkeypatch):
    monkeypatch.setattr(restricted_pickle, "MAX_STEPS", 1000)
    with pytest.raises(DataError, match="more than 1000 instructions"):
        load(b"(" * 300)
    with pytest.raises(DataError, match="more than 1000 instructions"):
        load(b"\x8f" * 100)


def test_a_pickle_longer_than_the_bound_is_refused(monkeypatch):
    monkeypatch.setattr(restricted_pickle, "MAX_BYTES", 1000)
    with pytest.raises(DataError, match="more than 1000 bytes"):
        load(pickle.dumps("x" * 2000))


def test_what_is_said_once_and_meant_often_comes_back():
    category = {"name": "person", "ids": list(range(50))}
    value = [{"category": category} for _ in range(5000)]
    assert dump_and_load(value, 2) == value


@given(content=st.binary(max_size=60), at=st.integers(0, 60))
@settings(max_examples=200)
def test_damage_anywhere_is_an_error_or_a_value(content, at):
    whole = pickle.dumps({"a": [1, 2.5, "b"], "c": np.arange(3)}, protocol=2)
    with suppress(DataError):
        load(whole[:at] + content)


def test_a_stand_in_takes_the_place_of_a_class():
    class Record:
        pass

    content = b"\x80\x02csomewhere\nThing\n)\x81}X\x01\x00\x00\x00aK\x01sb."
    loaded = load(content, allowed={("somewhere", "Thing"): Record})
    assert type(loaded) is Record
    assert loaded.a == 1
