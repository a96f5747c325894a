"""Reads files of word vectors; the content tells which format it is, not the name.

GloVe text        `word 0.1 0.2 ...` a line; words may contain spaces (GloVe 840B)
word2vec text     the same below a line `COUNT DIM`
word2vec binary   that line, then for each word: the word, a space, DIM little-endian float32
gzip              of any of these
gensim's own      `KeyedVectors.save`: a pickle, with large arrays in `FILE.vectors.npy` beside it, which is mapped

gensim's readers of the first three stop at one bad line among millions and cannot say which, and its reader of the last
runs what the pickle says; hence these.
"""

import glob
import gzip
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from itertools import count as counted_from
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from annotations.guards.drops import DataError, Drops
from annotations.guards.restricted_pickle import load_restricted

_HEADER = re.compile(rb"(\d{1,18}) (\d{1,18})\s*")
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")
_SAMPLE = 1 << 16
"""Bytes looked at to tell binary from text."""
_CHUNK = 1 << 20
_MAX_DIM = 1 << 16
_MARK = b"\xef\xbb\xbf"
"""A byte-order mark, which is no part of the first word."""

MISCOUNTED_SHARE = 0.001
"""Share of a header's number by which a file may hold more or fewer vectors; one is always allowed. It is counted."""


@dataclass(frozen=True, kw_only=True, eq=False)
class VectorTable:
    """Words with their vectors, as a file holds them."""

    rows: dict[str, int]
    """The row of each word."""
    vectors: NDArray[np.float32]
    """[words, numbers of a vector]; mapped where gensim saved it beside the words."""


def arrays_beside(path: Path) -> tuple[str, ...]:
    """Return a pattern of the arrays that gensim saves beside the file, for `Path.glob` of its folder."""
    return (f"{glob.escape(path.name)}.*.npy",)


def read_vector_file(path: Path, *, drops: Drops) -> VectorTable:
    """Return the words and vectors of a file in any of the formats above, float32; the first of equal words counts.

    Raises:
        DataError: the file is missing, empty, damaged, cut short or of another format, or `drops` is strict.
    """
    try:
        with path.open("rb") as raw:
            is_gzip = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            file = cast(BinaryIO, gzip.GzipFile(fileobj=raw)) if is_gzip else raw
            first = file.read(len(_MARK))
            file.seek(0)
            if first[:1] == b"\x80":
                return _read_saved(file, path)
            vectors = _read_vectors(file, path, drops, start=len(_MARK) if first == _MARK else 0)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be read to its end ({error}), expected a file of word vectors") from error
    if not vectors.rows:
        raise DataError(f"{path}: no word vector in it, expected a word and its numbers a line, or word2vec's binary")
    return vectors.table()


class _Vectors:
    """Words and vectors as they come, each checked."""

    def __init__(self, dim: int, drops: Drops) -> None:
        self.rows: dict[str, int] = {}
        self._dim = dim
        self._values = bytearray()
        self._drops = drops

    def add(self, word: bytes, vector: NDArray[np.float32], where: str) -> None:
        try:
            text = word.decode()
        except UnicodeDecodeError:
            self._drops.add("vector: word is not UTF-8", f"{where}: found {word!r}")
            return
        if not np.isfinite(vector).all():
            self._drops.add("vector: a number is not finite", f"{where}: word {text!r}")
        elif text in self.rows:
            self._drops.add("vector: word repeated", f"{where}: word {text!r}")
        else:
            self.rows[text] = len(self.rows)
            self._values += vector.tobytes()

    def table(self) -> VectorTable:
        vectors = np.frombuffer(self._values, np.float32).reshape(-1, self._dim)
        return VectorTable(rows=self.rows, vectors=vectors)


def _read_vectors(file: BinaryIO, path: Path, drops: Drops, start: int) -> _Vectors:
    file.seek(start)
    header = _HEADER.fullmatch(file.readline(_SAMPLE))
    if header is None:
        file.seek(start)
        return _read_text(file, path, drops)
    count, dim = int(header[1]), int(header[2])
    if not 1 <= dim <= _MAX_DIM:
        raise DataError(f"{path}, line 1: {dim} numbers a vector, expected 1 to {_MAX_DIM}")
    sample = file.read(_SAMPLE)
    file.seek(start + header.end())
    if _CONTROL.search(sample):
        return _read_binary(file, path, drops, count, dim)
    return _read_text(file, path, drops, count, dim)


def _read_text(file: BinaryIO, path: Path, drops: Drops, count: int | None = None, dim: int = 0) -> _Vectors:
    lines: Iterator[bytes] = iter(file)
    if count is None:
        start = list(islice(lines, 100))
        dim = _usual_dim(start, path)
        lines = chain(start, lines)
    vectors = _Vectors(dim, drops)
    first = 1 if count is None else 2
    number = first - 1
    for number, line in enumerate(lines, start=first):
        split = _split_line(line, dim)
        if split is None:
            where = f"{path}, line {number}: found {line[:60]!r}, expected a word and {dim} numbers"
            drops.add("vector: not a word and its numbers", where)
        else:
            vectors.add(*split, f"{path}, line {number}")
    if count is not None:
        _check_number(number - 1, count, path, drops)
    return vectors


def _check_number(found: int, told: int, path: Path, drops: Drops) -> None:
    """Count a header that is a little wrong, as published ones are; raise DataError where it is not."""
    if found == told:
        return
    where = f"{path}, line 1: says {told} vectors, found {found}"
    if abs(found - told) > max(1, told * MISCOUNTED_SHARE):
        raise DataError(f"{where}; the file is cut short or its header is wrong, fetch it again")
    drops.add("vector: the first line tells another number of them", where)


def _usual_dim(lines: list[bytes], path: Path) -> int:
    """Return how many numbers most lines have, so that one short or odd line at the top misleads nobody."""
    dims = Counter(len(line.split()) - 1 for line in lines)
    dim = dims.most_common(1)[0][0] if dims else 0
    if dim < 1 or all(_split_line(line, dim) is None for line in lines):
        found = repr(lines[0][:60]) if lines else "nothing"
        raise DataError(f"{path}, line 1: found {found}, expected a word and its numbers, or their count and dimension")
    return dim


def _split_line(line: bytes, dim: int) -> tuple[bytes, NDArray[np.float32]] | None:
    """Return the word and its float32 [dim], or None if that is not what the line holds."""
    word, _, rest = line.partition(b" ")
    vector = _numbers(rest)
    if vector is not None and len(vector) == dim and word:
        return word, vector
    fields = line.split()  # words may have spaces: the last numbers are the vector's
    words = fields[:-dim]
    vector = _numbers(b" ".join(fields[-dim:]))
    one_number_too_many = len(words) > 1 and _numbers(words[-1]) is not None
    if vector is None or len(vector) != dim or not words or one_number_too_many:
        return None
    return b" ".join(words), vector


def _numbers(text: bytes) -> NDArray[np.float32] | None:
    try:
        return np.fromstring(text, np.float32, sep=" ")
    except ValueError:
        return None


def _read_binary(file: BinaryIO, path: Path, drops: Drops, count: int, dim: int) -> _Vectors:
    vectors = _Vectors(dim, drops)
    buffer, start = b"", 0
    for number in counted_from(1):
        space = buffer.find(b" ", start)
        while space < 0 or space + 1 + 4 * dim > len(buffer):
            more = file.read(_CHUNK)
            if not more and not buffer[start:].strip():
                _check_number(number - 1, count, path, drops)
                return vectors
            if not more or (space < 0 and len(buffer) - start > _CHUNK):
                raise DataError(
                    f"{path}: damaged or cut short at word {number}, expected {count} words with {dim} float32 each, "
                    "as its first line says; fetch it again"
                )
            buffer, start = buffer[start:] + more, 0
            space = buffer.find(b" ")
        end = space + 1 + 4 * dim
        vector = np.frombuffer(buffer, "<f4", dim, space + 1).astype(np.float32)
        vectors.add(buffer[start:space].lstrip(b"\n"), vector, f"{path}, word {number}")
        start = end
    raise AssertionError("the loop returns")


class _Saved:
    """Stands in for gensim's classes in what `KeyedVectors.save` writes, and has no behaviour."""


_GENSIM: dict[tuple[str, str], Any] = {
    ("gensim.models.keyedvectors", name): _Saved
    for name in ("KeyedVectors", "Word2VecKeyedVectors", "EuclideanKeyedVectors", "Vocab", "CompatVocab")
}


def _read_saved(file: BinaryIO, path: Path) -> VectorTable:
    saved = load_restricted(file, place=str(path), allowed=_GENSIM)
    found = vars(saved) if isinstance(saved, _Saved) else {}
    words = found.get("index_to_key", found.get("index2word"))  # the second before gensim 4
    vectors = found.get("vectors", found.get("syn0"))
    beside = found.get("__numpys")
    for name in ("vectors", "syn0"):
        if isinstance(beside, list) and name in beside:
            vectors = _read_array(Path(f"{path}.{name}.npy"))
    if not (
        isinstance(words, list)
        and all(isinstance(word, str) for word in words)
        and isinstance(vectors, np.ndarray)
        and vectors.dtype.kind == "f"
        and vectors.ndim == 2
        and len(vectors) == len(words) > 0
    ):
        raise DataError(f"{path}: no words with as many vectors, expected what gensim's KeyedVectors.save writes")
    return VectorTable(rows={word: row for row, word in enumerate(words)}, vectors=vectors)


def _read_array(path: Path) -> NDArray[Any]:
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy reads a header as Python, and raises what Python does
        raise DataError(
            f"{path}: cannot be read ({error}); expected the array that gensim saved beside the words"
        ) from error
