import gzip
import os
import pickle

import numpy as np
import pytest
from gensim.models import KeyedVectors

from annotations.guards.drops import DataError, Drops
from annotations.vectors.files import read_vector_file

WORDS = ["dog", "naïve", "new_york"]
MATRIX = np.array([[1, 0.5, -2], [0.25, 0, 1e-3], [3, 4, 5]], np.float32)
GLOVE = "dog 1 0.5 -2\nnaïve 0.25 0 1e-3\nnew_york 3 4 5\n"


def read(path, content=None):
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    drops = Drops()
    return read_vector_file(path, drops=drops), drops


def refused(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as caught:
        read_vector_file(path, drops=Drops())
    assert str(path) in str(caught.value)
    return str(caught.value)


def gensim_vectors():
    keyed = KeyedVectors(3)
    keyed.add_vectors(WORDS, MATRIX)
    return keyed


def saved_by_gensim(path, form):
    if form == "native":
        gensim_vectors().save(str(path))
    elif form == "native, arrays beside":
        gensim_vectors().save(str(path), sep_limit=1)
    else:
        gensim_vectors().save_word2vec_format(str(path), binary=form == "binary", write_header=form != "glove")
    return path


@pytest.mark.parametrize("form", ["glove", "text", "binary", "native", "native, arrays beside"])
def test_what_gensim_writes_is_read_whatever_its_name(form, tmp_path):
    keyed, drops = read(saved_by_gensim(tmp_path / "vectors", form))
    assert list(keyed.rows) == WORDS
    np.testing.assert_array_equal(keyed.vectors, MATRIX)
    assert keyed.vectors[keyed.rows["naïve"]].tolist() == MATRIX[1].tolist()
    assert not drops.counts


@pytest.mark.parametrize("form", ["glove", "text", "binary", "native"])
def test_gzip_of_it_is_read_whatever_its_name(form, tmp_path):
    content = saved_by_gensim(tmp_path / "vectors", form).read_bytes()
    keyed, _ = read(tmp_path / "vectors.txt", gzip.compress(content))
    assert list(keyed.rows) == WORDS
    np.testing.assert_array_equal(keyed.vectors, MATRIX)


def test_arrays_beside_are_mapped(tmp_path):
    keyed, _ = read(saved_by_gensim(tmp_path / "vectors.kv", "native, arrays beside"))
    assert isinstance(keyed.vectors, np.memmap)
    assert not keyed.vectors.flags.writeable


def test_a_word_may_have_spaces(tmp_path):
    keyed, drops = read(tmp_path / "glove.txt", GLOVE + ". . . 1 2 3\nat name@domain.com 4 5 6\n")
    assert list(keyed.rows)[3:] == [". . .", "at name@domain.com"]
    assert keyed.vectors[3:].tolist() == [[1, 2, 3], [4, 5, 6]]
    assert not drops.counts


def test_a_word_may_be_a_number_and_a_line_may_end_in_space(tmp_path):
    keyed, drops = read(tmp_path / "glove.txt", "7 1 2 3 \r\ndog  4  5  6\r\n")
    assert list(keyed.rows) == ["7", "dog"]
    assert keyed.vectors.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert not drops.counts


def test_the_c_tools_line_ends_between_binary_words_are_skipped(tmp_path):
    content = b"2 1\na " + np.float32(1).tobytes() + b"\nb " + np.float32(2).tobytes() + b"\n"
    keyed, _ = read(tmp_path / "vectors.bin", content)
    assert list(keyed.rows) == ["a", "b"]
    assert keyed.vectors.tolist() == [[1], [2]]


def test_a_binary_file_larger_than_what_is_read_at_once_comes_whole(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(3000, 100)).astype(np.float32)
    keyed = KeyedVectors(100)
    keyed.add_vectors([f"word{number}" for number in range(3000)], vectors)
    keyed.save_word2vec_format(str(tmp_path / "vectors.bin"), binary=True)
    found, _ = read(tmp_path / "vectors.bin")
    np.testing.assert_array_equal(found.vectors, vectors)


BAD_LINES = [
    (b"cat 1 2", "vector: not a word and its numbers"),
    (b"cat 1 2 3 4", "vector: not a word and its numbers"),
    (b"cat 1 two 3", "vector: not a word and its numbers"),
    (b"cat", "vector: not a word and its numbers"),
    (b"", "vector: not a word and its numbers"),
    (b"caf\xe9 1 2 3", "vector: word is not UTF-8"),
    (b"cat 1 nan 3", "vector: a number is not finite"),
    (b"cat 1 inf 3", "vector: a number is not finite"),
    (b"dog 1 2 3", "vector: word repeated"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES)
@pytest.mark.parametrize("header", [b"", b"4 3\n"])
def test_a_bad_line_is_counted_and_the_rest_read(line, reason, header, tmp_path):
    path = tmp_path / "glove.txt"
    content = header + GLOVE.encode() + line + b"\n"
    keyed, drops = read(path, content)
    assert list(keyed.rows) == WORDS
    assert keyed.vectors[keyed.rows["dog"]].tolist() == [1, 0.5, -2]
    assert drops.counts == {reason: 1}
    place = f"{path}, line {5 if header else 4}"
    assert drops.first[reason].startswith(place)
    with pytest.raises(DataError, match=f"line {5 if header else 4}.*{reason}"):
        read_vector_file(path, drops=Drops(strict=True))


def test_a_short_first_line_does_not_tell_the_dimension(tmp_path):
    keyed, drops = read(tmp_path / "glove.txt", "cat 1 2\n" + GLOVE)
    assert list(keyed.rows) == WORDS
    assert drops.first["vector: not a word and its numbers"].endswith(
        r"line 1: found b'cat 1 2\n', expected a word and 3 numbers"
    )


def test_a_latin_1_file_keeps_its_ascii_words(tmp_path):
    keyed, drops = read(tmp_path / "glove.txt", GLOVE.encode("latin-1"))
    assert list(keyed.rows) == ["dog", "new_york"]
    assert drops.counts == {"vector: word is not UTF-8": 1}


def test_a_bad_word_of_a_binary_file_is_counted(tmp_path):
    vectors = [np.array(row, np.float32).tobytes() for row in ([1, 0], [2, 0], [3, np.nan], [4, 0])]
    names = (b"dog ", b"caf\xe9 ", b"cat ", b"dog ")
    path = tmp_path / "vectors.bin"
    keyed, drops = read(path, b"4 2\n" + b"".join(name + row for name, row in zip(names, vectors, strict=True)))
    assert list(keyed.rows) == ["dog"]
    assert sorted(drops.counts) == [
        "vector: a number is not finite",
        "vector: word is not UTF-8",
        "vector: word repeated",
    ]
    assert drops.first["vector: word repeated"] == f"{path}, word 4: word 'dog'"


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "line 1: found nothing, expected a word and its numbers"),
        (b"\n\n", "expected a word and its numbers"),
        (b"this is a text\nof two lines\n", "expected a word and its numbers"),
        (b"<html>\n", "expected a word and its numbers"),
        (b"5 3\n" + GLOVE.encode(), "line 1: says 5 vectors, found 3"),
        (b"1 3\n" + GLOVE.encode(), "line 1: says 1 vectors, found 3"),
        (b"3 4\n" + GLOVE.encode(), "no word vector in it"),
        (b"3 0\n" + GLOVE.encode(), "line 1: 0 numbers a vector"),
        (b"3 99999999999\n" + GLOVE.encode(), "line 1: 99999999999 numbers a vector"),
        (b"0 3\n", "no word vector in it"),
        (
            b"99999999999999 2\ndog \0\0\0\0\0\0\0\0",
            "line 1: says 99999999999999 vectors, found 1; the file is cut short",
        ),
        (b"1 1\na \0\0\0\0b \0\0\0\0c \0\0\0\0", "line 1: says 1 vectors, found 3"),
        (b"2 1\ndog \0\0\0\0cat \0\0", "cut short at word 2, expected 2 words with 1 float32"),
        (b"1 1\ndog \0\0", "cut short at word 1"),
        (gzip.compress(GLOVE.encode(), mtime=0)[:-9], "cannot be read to its end"),
        (b"\x1f\x8b\x08 nothing", "cannot be read to its end"),
        (b"\x80\x04nonsense", "not a whole pickle of plain values"),
        (pickle.dumps([1, 2], protocol=4), "no words with as many vectors, expected what gensim's"),
    ],
)
def test_a_file_that_is_none_is_a_clear_error(content, expected, tmp_path):
    assert expected in refused(tmp_path / "vectors", content)


def test_a_missing_file_is_a_clear_error(tmp_path):
    with pytest.raises(DataError, match="absent"):
        read_vector_file(tmp_path / "absent", drops=Drops())


MISCOUNTED = "vector: the first line tells another number of them"


@pytest.mark.parametrize("told", [2, 4])
@pytest.mark.parametrize("form", ["text", "binary"])
def test_a_header_that_is_one_off_is_counted_and_the_vectors_are_read(told, form, tmp_path):
    path = tmp_path / "vectors"
    gensim_vectors().save_word2vec_format(str(path), binary=form == "binary")
    path.write_bytes(path.read_bytes().replace(b"3 3\n", b"%d 3\n" % told, 1))
    keyed, drops = read(path)
    assert list(keyed.rows) == WORDS
    np.testing.assert_array_equal(keyed.vectors, MATRIX)
    assert drops.counts == {MISCOUNTED: 1}
    assert drops.first[MISCOUNTED] == f"{path}, line 1: says {told} vectors, found 3"
    with pytest.raises(DataError, match=MISCOUNTED):
        read_vector_file(path, drops=Drops(strict=True))


@pytest.mark.parametrize("form", ["glove", "text", "binary"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_byte_order_mark_is_no_part_of_the_first_word(form, pack, tmp_path):
    path = tmp_path / "vectors"
    gensim_vectors().save_word2vec_format(str(path), binary=form == "binary", write_header=form != "glove")
    path.write_bytes(pack(b"\xef\xbb\xbf" + path.read_bytes()))
    keyed, drops = read(path)
    assert list(keyed.rows) == WORDS
    np.testing.assert_array_equal(keyed.vectors, MATRIX)
    assert not drops.counts


class Malicious:
    def __init__(self, function, argument):
        self.call = function, (argument,)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.system, eval])
def test_a_malicious_save_is_refused_and_not_run(function, tmp_path):
    done = tmp_path / "done"
    argument = f"touch {done}" if function is os.system else f"open({str(done)!r}, 'w')"
    keyed = gensim_vectors()
    keyed.expandos = {"count": Malicious(function, argument)}
    keyed.save(str(tmp_path / "vectors.kv"))
    with pytest.raises(DataError, match=rf"vectors\.kv: the pickle names \w+\.{function.__name__}, expected plain"):
        read_vector_file(tmp_path / "vectors.kv", drops=Drops())
    assert not done.exists()


def test_a_pickled_array_beside_a_save_is_refused(tmp_path):
    path = saved_by_gensim(tmp_path / "vectors.kv", "native, arrays beside")
    np.save(tmp_path / "vectors.kv.vectors.npy", np.array([{}, {}, {}], object))
    with pytest.raises(DataError, match=r"vectors\.kv\.vectors\.npy: cannot be read"):
        read_vector_file(path, drops=Drops())


def test_a_missing_array_beside_a_save_is_a_clear_error(tmp_path):
    path = saved_by_gensim(tmp_path / "vectors.kv", "native, arrays beside")
    (tmp_path / "vectors.kv.vectors.npy").unlink()
    with pytest.raises(DataError, match=r"vectors\.kv\.vectors\.npy: cannot be read"):
        read_vector_file(path, drops=Drops())


def test_a_save_whose_parts_do_not_fit_is_refused(tmp_path):
    path = saved_by_gensim(tmp_path / "vectors.kv", "native, arrays beside")
    np.save(tmp_path / "vectors.kv.vectors.npy", MATRIX[:2])
    with pytest.raises(DataError, match="no words with as many vectors"):
        read_vector_file(path, drops=Drops())
