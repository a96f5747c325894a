import json
from pathlib import Path

import pytest

from annotations.datasets.json_records import FieldError, read_records, take_id, take_number, take_objects, take_words
from annotations.drops import DataError


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
        (b'[{"x": NaN}]', "not valid JSON after 0 records"),
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
    ],
)
def test_a_field_of_the_wrong_type_is_named_with_what_was_found(take, value, reason):
    with pytest.raises(FieldError) as refusal:
        take({"f": value}, "f")
    assert (refusal.value.reason, refusal.value.found) == (reason, repr(value))


def test_a_missing_field_is_named_with_those_that_are_there():
    with pytest.raises(FieldError, match="w is missing: fields are x, y"):
        take_number({"x": 1, "y": 2}, "w")
