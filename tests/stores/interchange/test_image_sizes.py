import pytest

from annotations.guards.drops import DataError
from stores.interchange.sizes import read_sizes


def test_vinvls_sizes_and_plain_lists_are_read(tmp_path):
    path = tmp_path / "train.hw.tsv"
    path.write_text('000000522418\t[{"height": 480, "width": 640}]\n\n7\t500\t375\n7\t500\t375\n')
    assert read_sizes(path) == {"000000522418": (640, 480), "7": (500, 375)}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("7\t500", "line 1: .*expected id, width, height"),
        ("7", "line 1"),
        ("7\t500\ttall", "'tall'"),
        ("7\t500\t0", "not positive"),
        ("7\t1\t2\t3", "line 1"),
        ('7\t[{"height": 480}]', "'width'"),
        ('7\t[{"height": "480", "width": 640}]', "not positive"),
        ("7\t[]", "line 1"),
        ("7\t500\t375\n7\t500\t376", r"line 2: image '7' is \(500, 376\) here, \(500, 375\) before"),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, words):
    path = tmp_path / "sizes.tsv"
    path.write_text(text)
    with pytest.raises(DataError, match=words):
        read_sizes(path)


def test_a_file_that_is_no_text_is_told(tmp_path):
    path = tmp_path / "sizes.tsv"
    path.write_bytes(b"\xff\xfe7")
    with pytest.raises(DataError, match="not UTF-8"):
        read_sizes(path)
