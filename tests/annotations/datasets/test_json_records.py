import gzip
import io
import json
from math import isfinite
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from annotations.datasets.json_records import (
    FieldError,
    read_field,
    read_json_lines,
    read_members,
    read_records,
    take_box,
    take_id,
    take_number,
    take_objects,
    take_size,
    take_words,
)
from annotations.datasets.standard_json import StandardJson
from annotations.guards.drops import DataError, Drops


def file_with(folder: Path, content: bytes) -> Path:
    path = folder / "records.json"
    path.write_bytes(content)
    return path


def test_records_come_in_order_with_their_numbers_as_written(tmp_path):
    path = file_with(tmp_path, b' \n[{"x": 1}, {"x": 2.5, "nested": [{"y": [3]}]}]\n')
    assert list(read_records(path)) == [{"x": 1}, {"x": 2.5, "nested": [{"y": [3]}]}]


def test_records_before_the_damage_are_given(tmp_path):
    records = read_records(file_with(tmp_path, b'[{"x": 1}, {"x": 2}, {"x'))
    assert [next(records), next(records)] == [{"x": 1}, {"x": 2}]
    with pytest.raises(DataError, match="not valid JSON after 2 records"):
        next(records)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with b'', expected '\\['"),
        (b'{"images": []}', "begins with b'{\"images\": \\[\\]}', expected '\\['"),
        (b"<html>not found", "begins with b'<html>not found', expected '\\['"),
        (b"\x1f\x8b\x08 gzip", "not a whole gzip file"),
        (b'[{"x": NaNa}]', "not valid JSON after 0 records"),
        (b'[{"x": 1}] trailing', "not valid JSON"),
        (b'[{"x": "\xff"}]', "not valid JSON after 0 records"),
        (b'[{"x": 1}, 7]', "record 1 is 7, expected an object"),
        (b'[["x"]]', "record 0 is \\['x'\\], expected an object"),
    ],
)
def test_a_file_that_is_not_an_array_of_objects_is_named_with_what_it_holds(tmp_path, content, message):
    path = file_with(tmp_path, content)
    with pytest.raises(DataError, match=message) as refusal:
        list(read_records(path))
    assert str(path) in str(refusal.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"objects.json: no such file, expected a JSON array"):
        list(read_records(tmp_path / "objects.json"))


def test_a_long_array_is_read_without_holding_it(tmp_path):
    path = tmp_path / "records.json"
    with path.open("w") as file:
        file.write("[" + ",".join(json.dumps({"id": number}) for number in range(10_000)))  # never closed
    records = read_records(path)
    assert next(records) == {"id": 0}


def test_an_array_inside_an_object_is_found_wherever_it_lies(tmp_path):
    path = file_with(
        tmp_path, b'{"info": {"images": [7]}, "images": [{"id": 1}, {"id": 2}], "annotations": [{"id": 3}]}'
    )
    assert list(read_records(path, "annotations")) == [{"id": 3}]
    assert list(read_records(path, "images")) == [{"id": 1}, {"id": 2}]


def test_an_empty_array_inside_an_object_has_no_records(tmp_path):
    assert list(read_records(file_with(tmp_path, b'{"images": [], "annotations": [{"id": 3}]}'), "images")) == []


@pytest.mark.parametrize("content", [b"{}", b'{"images": {}}', b'{"images": null}', b'{"a": {"images": [{"id": 1}]}}'])
def test_an_object_without_the_array_is_an_error(tmp_path, content):
    with pytest.raises(DataError, match=r"records.json: no array 'images' in it"):
        list(read_records(file_with(tmp_path, content), "images"))


def test_members_of_one_object_come_with_their_names(tmp_path):
    path = file_with(tmp_path, b'{"02930152": {"question": "Is it?"}, "7": {}}')
    assert list(read_members(path)) == [("02930152", {"question": "Is it?"}), ("7", {})]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[]", "begins with b'\\[\\]', expected '{'"),
        (b'{"1": {"x": 1}, "2"', "not valid JSON after 1 records"),
        (b'{"1": 7}', "record '1' is 7, expected an object"),
    ],
)
def test_members_that_are_none_are_named(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        list(read_members(file_with(tmp_path, content)))


def test_a_field_is_read_before_and_after_long_arrays(tmp_path):
    path = file_with(
        tmp_path, b'{"data_type": "mscoco", "questions": [{"data_subtype": "no"}], "data_subtype": "val2014"}'
    )
    assert read_field(path, "data_type") == "mscoco"
    assert read_field(path, "data_subtype") == "val2014"
    assert read_field(path, "license") is None


def test_lines_are_numbered_and_bad_ones_counted(tmp_path):
    path = file_with(tmp_path, b'{"id": 1}\n\n[2]\n{"id": \xff}\n' + b"[" * 100_000 + b'\n{"id": 6}')
    drops = Drops()
    assert list(read_json_lines(path, drops=drops)) == [(1, {"id": 1}), (6, {"id": 6})]
    assert drops.counts == {"line: no JSON object": 3}
    assert drops.first["line: no JSON object"].startswith(f"{path}, line 3")


@pytest.mark.parametrize("content", [b"", b"<html>\n" * 20, b"[{}]"])
def test_a_file_without_a_single_good_line_is_an_error(tmp_path, content):
    with pytest.raises(DataError, match=r"records.json: (no line is|lines begin with)"):
        list(read_json_lines(file_with(tmp_path, content), drops=Drops()))


def test_zipped_files_are_read_as_others(tmp_path):
    assert list(read_records(file_with(tmp_path, gzip.compress(b'[{"x": 1}]')))) == [{"x": 1}]
    assert list(read_members(file_with(tmp_path, gzip.compress(b'{"a": {"x": 1}}')))) == [("a", {"x": 1})]
    path = file_with(tmp_path, gzip.compress(b'{"x": 1}\n'))
    assert list(read_json_lines(path, drops=Drops())) == [(1, {"x": 1})]


@pytest.mark.parametrize("read", [read_records, lambda path: read_json_lines(path, drops=Drops())])
@pytest.mark.parametrize("damage", ["cut short", "one byte changed"])
def test_a_damaged_zipped_file_is_named(tmp_path, read, damage):
    numbers = ",\n".join(json.dumps({"id": number**7}) for number in range(20_000))
    content = bytearray(gzip.compress(f"[{numbers}]".encode()))
    if damage == "cut short":
        del content[len(content) // 2 :]
    else:
        content[len(content) // 2] ^= 0xFF
    with pytest.raises(DataError, match=r"records.json: "):
        list(read(file_with(tmp_path, bytes(content))))


def test_ids_are_strings_whatever_the_source_writes():
    assert take_id({"image_id": 61512}, "image_id") == "61512"
    assert take_id({"image_id": "n116329"}, "image_id") == "n116329"


def test_words_are_lower_case_stripped_and_unrepeated():
    assert take_words({"names": [" Traffic Light", "", "traffic light", "Sign "]}, "names") == ("traffic light", "sign")


@pytest.mark.parametrize(
    ("take", "value", "reason"),
    [
        (take_id, 1.5, "f is not an id"),
        (take_id, True, "f is not an id"),
        (take_number, "12", "f is not a number"),
        (take_number, None, "f is not a number"),
        (take_number, False, "f is not a number"),
        (take_number, float("inf"), "f is not a number"),
        (take_objects, {"a": 1}, "f is not a list"),
        (take_objects, [1], "f is not a list of objects"),
        (take_words, ["a", None], "f is not a list of strings"),
        (take_box, [1, 2, 3], "f is not four numbers"),
        (take_box, [1, 2, "3", 4], "f is not four numbers"),
        (take_box, [1, 2, float("nan"), 4], "f is not four numbers"),
    ],
)
def test_a_field_of_the_wrong_type_is_named_with_what_was_found(take, value, reason):
    with pytest.raises(FieldError) as refusal:
        take({"f": value}, "f")
    assert (refusal.value.reason, refusal.value.found) == (reason, repr(value))


def test_a_missing_field_is_named_with_those_that_are_there():
    with pytest.raises(FieldError, match="w is missing: fields are x, y"):
        take_number({"x": 1, "y": 2}, "w")


def test_a_box_of_width_and_height_gets_its_other_corner():
    assert take_box({"bbox": [1.5, 2, 10, 20]}, "bbox") == (1.5, 2.0, 11.5, 22.0)


@pytest.mark.parametrize(("width", "height"), [(0, 480), (640, -1), (1e300, 480), (640, 2**31)])
def test_a_size_that_no_image_has_is_named(width, height):
    assert take_size({"width": 640, "height": 480.0}) == (640, 480)
    with pytest.raises(FieldError, match="size is not that of an image"):
        take_size({"width": width, "height": height})


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_what_python_writes_beyond_json_is_null_and_a_mark_is_passed_over(tmp_path, mark, pack):
    texts = ["NaN, Infinity", 'a "NaN" \\', "-Infinity", ": NaN,", "\\NaN"]
    values = [float("nan"), float("inf"), float("-inf"), 1.5, -2]
    path = file_with(tmp_path, pack(mark + json.dumps([{"text": texts, "number": values}]).encode()))
    assert list(read_records(path)) == [{"text": texts, "number": [None, None, None, 1.5, -2]}]
    path = file_with(tmp_path, pack(mark + json.dumps({"a": {"number": values}, "b": {"text": texts}}).encode()))
    assert dict(read_members(path)) == {"a": {"number": [None, None, None, 1.5, -2]}, "b": {"text": texts}}
    path = file_with(tmp_path, pack(mark + json.dumps({"number": float("nan"), "name": "x"}).encode()))
    assert (read_field(path, "name"), read_field(path, "number")) == ("x", None)
    path = file_with(tmp_path, pack(mark + b'{"a": NaN}\n{"a": 1}'))
    assert [record for _, record in read_json_lines(path, drops=Drops())][1] == {"a": 1}


@given(
    st.recursive(
        st.floats() | st.text('NaInfity"\\-: ,[]') | st.none(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('Na"\\'), inner, max_size=3),
        max_leaves=20,
    ),
    st.integers(1, 40),
)
def test_texts_are_never_changed_wherever_blocks_end(value, size):
    def standard(value):
        if isinstance(value, float):
            return value if isfinite(value) else None
        if isinstance(value, list):
            return [standard(each) for each in value]
        return {key: standard(each) for key, each in value.items()} if isinstance(value, dict) else value

    file = StandardJson(io.BytesIO(json.dumps(value, ensure_ascii=False).encode()))
    blocks = list(iter(lambda: file.read(size), b""))
    assert json.loads(b"".join(blocks)) == standard(value)
