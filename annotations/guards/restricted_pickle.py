"""Unpickles what plain data sets and checkpoints hold, and refuses everything else before any of it runs.

A pickle is a program: it may name any function and have it called. Here the only names with a meaning are stand-ins
of this module and those that the caller admits, so all that can be built is containers, numbers, text and arrays.
They take memory and time in proportion to the pickle's size, within the bounds below, and what comes back is no deeper
than a data set is, and no larger where it is written out, so that whoever walks through it or shows it comes to an end.

This file and what it imports is below every room: `detectors` may import it as well.
"""

import math
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from annotations.guards.drops import DataError
from annotations.guards.shown import shown

MAX_BYTES = 1 << 31
"""Size of a pickle at most; detectron2's largest checkpoint has a third."""

MAX_STEPS = 60_000_000
"""Instructions of a pickle; one that makes a container counts as four, a set as twelve. All of RefCOCO takes 15 million
and a few seconds, word2vec's 3,000,000 words 12 million."""

MAX_DEPTH = 64
"""Containers in containers; data sets and checkpoints have fewer than ten."""

MAX_REPETITION, ALWAYS_ADMITTED = 64, 1 << 20
"""What a pickle says once may be meant many times; written out, all of it may be so many times as long as the pickle,
or as many characters."""

_CHUNK = 1 << 20
_PLAIN_KEYS = (str, bytes, int, float, type(None), np.generic)


def load_restricted(
    file: BinaryIO, *, place: str, allowed: Mapping[tuple[str, str], Any] | None = None, encoding: str = "latin1"
) -> Any:
    """Return the object that the pickle holds: containers, numbers, text, and numpy arrays of any of them.

    Args:
        place: the file's name and what else tells where this is, for errors.
        allowed: module and name, as pickles write them, to the class or function that takes its place. Give stand-ins
            of your own: a pickle calls them as it likes and sets what attributes it likes.
        encoding: of Python 2's strings.

    Raises:
        DataError: the pickle is damaged, exceeds a bound, or names anything else; nothing of what it names was run.
    """
    source = _Source(file)
    try:
        loaded = _Unpickler(source, place, {**_PLAIN, **(allowed or {})}, encoding).load()
        _measure(loaded, MAX_REPETITION * source.num_bytes + ALWAYS_ADMITTED)
    except DataError:
        raise
    except Exception as error:  # on hostile bytes pickle, and numpy, raise nearly anything
        cause = (str(error).strip().splitlines() or [""])[0][:200]
        raise DataError(
            f"{place}: not a whole pickle of plain values ({type(error).__name__}: {cause}); fetch it again"
        ) from error
    return loaded


class _Source:
    """A file that makes room only for bytes that are there, and for no more than a pickle may have."""

    def __init__(self, file: BinaryIO) -> None:
        self.num_bytes = 0
        self._file = file

    def read(self, size: int) -> bytes:
        if size <= _CHUNK:
            return self._counted(self._file.read(size))
        parts = []
        while size and (part := self._counted(self._file.read(min(size, _CHUNK)))):
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def readline(self) -> bytes:
        return self._counted(self._file.readline(MAX_BYTES))

    def _counted(self, content: bytes) -> bytes:
        self.num_bytes += len(content)
        if self.num_bytes > MAX_BYTES:
            raise pickle.UnpicklingError(f"more than {MAX_BYTES} bytes")
        return content


class _Steps(dict[int, Callable[..., None]]):
    """The functions of all instructions; counts those that are asked for."""

    def __init__(self) -> None:
        super().__init__(_Unpickler.dispatch)
        self._left = MAX_STEPS

    def __getitem__(self, code: int) -> Callable[..., None]:
        self._left -= _WEIGHTS.get(code, 1)
        if self._left < 0:
            raise pickle.UnpicklingError(f"more than {MAX_STEPS} instructions")
        return super().__getitem__(code)


class _Unpickler(pickle._Unpickler):
    """The one in Python: that in C makes room for as many objects to remember as a pickle says, which may be 64 GB.

    A key is a number or text: Python looks through a tuple for its hash, to any depth, and as often as it is repeated.
    """

    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)
    stack: list[Any]

    def __init__(self, file: _Source, place: str, allowed: Mapping[tuple[str, str], Any], encoding: str) -> None:
        super().__init__(file, encoding=encoding)
        self._place = place
        self._allowed = allowed
        self._with_state = (_Array, _DataType, OrderedDict, *(each for each in allowed.values() if type(each) is type))
        self.dispatch = _Steps()  # type: ignore[misc]  # load() asks for it once a load

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise DataError(
                f"{self._place}: the pickle names {f'{module}.{name}'[:100]}, expected plain values and arrays only; "
                "it was refused and nothing of it was run"
            )
        return self._allowed[module, name]

    def load_bytearray8(self) -> None:
        """Read first: the inherited one makes room for as many bytes as a pickle says."""
        (size,) = struct.unpack("<Q", self.read(8))  # type: ignore[attr-defined]  # its stub lacks what load() sets
        self.append(bytearray(self.read(size)))  # type: ignore[attr-defined]  # the same

    def load_append(self) -> None:
        value = self.stack.pop()
        self._top(list).append(value)

    def load_appends(self) -> None:
        values = self.pop_mark()  # type: ignore[attr-defined]  # the same
        self._top(list).extend(values)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._top(dict, OrderedDict)[_plain_key(key)] = value

    def load_setitems(self) -> None:
        items = self.pop_mark()  # type: ignore[attr-defined]  # the same
        top = self._top(dict, OrderedDict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            top[key if type(key) is str else _plain_key(key)] = value

    def load_additems(self) -> None:
        items = self.pop_mark()  # type: ignore[attr-defined]  # the same
        self._top(set).update(map(_plain_key, items))

    def load_dict(self) -> None:
        items = self.pop_mark()  # type: ignore[attr-defined]  # the same
        self.append(dict(zip(map(_plain_key, items[::2]), items[1::2], strict=True)))  # type: ignore[attr-defined]

    def load_frozenset(self) -> None:
        items = self.pop_mark()  # type: ignore[attr-defined]  # the same
        self.append(frozenset(map(_plain_key, items)))  # type: ignore[attr-defined]

    def load_build(self) -> None:
        if type(self.stack[-2]) not in self._with_state:
            raise TypeError(f"a state for a {type(self.stack[-2]).__name__}")
        super().load_build()  # type: ignore[misc]  # its stub lacks it

    def _top(self, *kinds: type) -> Any:
        if type(self.stack[-1]) not in kinds:
            raise TypeError(f"elements for a {type(self.stack[-1]).__name__}")
        return self.stack[-1]

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8
    dispatch[pickle.APPEND[0]] = load_append
    dispatch[pickle.APPENDS[0]] = load_appends
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.ADDITEMS[0]] = load_additems
    dispatch[pickle.DICT[0]] = load_dict
    dispatch[pickle.FROZENSET[0]] = load_frozenset
    dispatch[pickle.BUILD[0]] = load_build


_WEIGHTS = {
    **{
        code[0]: 4
        for code in (
            *(pickle.MARK, pickle.EMPTY_LIST, pickle.LIST, pickle.EMPTY_DICT, pickle.DICT, pickle.TUPLE, pickle.TUPLE1),
            *(pickle.TUPLE2, pickle.TUPLE3, pickle.NEWOBJ, pickle.NEWOBJ_EX, pickle.OBJ, pickle.INST),
        )
    },
    **{code[0]: 12 for code in (pickle.EMPTY_SET, pickle.FROZENSET, pickle.REDUCE)},
}
"""In bytes of memory for each byte of a pickle, roughly."""


def _plain_key(key: Any) -> Any:
    if not isinstance(key, _PLAIN_KEYS):
        raise TypeError(f"a {type(key).__name__} as a key, expected a number or text")
    return key


def _measure(loaded: Any, limit: int) -> None:
    """Raise an error if the value holds itself, is too deep, or has more than `limit` values and characters."""
    known: dict[int, tuple[int, int]] = {}

    def measured(value: Any, depth: int) -> tuple[int, int]:
        """Return how large the value is where it is written out, and how deep."""
        if isinstance(value, str | bytes | bytearray):
            return 1 + len(value), 0
        children = _children(value)
        if children is None:
            return 1, 0
        size, height = known.get(id(value), (0, 0))
        if not size and depth < MAX_DEPTH:
            size = 1
            for child in children:
                if type(child) is str:  # as most are: nothing to call for
                    size += 1 + len(child)
                    height = height or 1
                    continue
                child_size, child_height = measured(child, depth + 1)
                size, height = size + child_size, max(height, 1 + child_height)
            known[id(value)] = size, height
        if not size or depth + height > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} containers in one another")
        if size > limit:
            raise ValueError(f"more than {limit} values and characters where repetitions are written out")
        return size, height

    measured(loaded, 0)


def _children(value: Any) -> Iterable[Any] | None:
    """Return what a container holds; None for all else."""
    if isinstance(value, dict):
        return (*value, *value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if isinstance(value, np.ndarray):
        return list(value.flat) if value.dtype.hasobject else None
    return list(vars(value).values()) if hasattr(value, "__dict__") and not callable(value) else None


class _DataType:
    """A numpy dtype's name and byte order; numpy's own would trust whatever sizes a pickle tells it."""

    def __init__(self, name: str, *_: Any) -> None:
        if not isinstance(name, str) or len(name) > 32:
            raise TypeError("an array of no type")
        self.dtype = np.dtype(name)
        if self.dtype.kind not in "biufcSUO":
            raise TypeError(f"an array of {name}, expected numbers, text or objects")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        if isinstance(order, str) and order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(">" if order == ">" else "<")


class _Array(np.ndarray[Any, Any]):
    """A numpy array that checks the size of its data itself; only `_reconstruct` makes one."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, data_type, is_fortran, data = state
        if data_type.dtype.kind == "O":
            _check_objects(shape, data)
            content = data
        else:
            text = data.encode("latin1") if isinstance(data, str) else data  # Python 2 wrote bytes as strings
            _check_size(shape, data_type.dtype, text)
            content = bytes(text)
        whole = (1, shape, data_type.dtype, bool(is_fortran), content)
        super().__setstate__(whole)  # type: ignore[arg-type]  # its stub wants numpy's bool, numpy does not


def _reconstruct(*_: Any) -> _Array:
    return np.ndarray.__new__(_Array, (0,), np.int8)


def _from_buffer(content: Any, data_type: _DataType, shape: tuple[int, ...], order: str) -> NDArray[Any]:
    _check_size(shape, data_type.dtype, content)
    return np.frombuffer(content, data_type.dtype).reshape(shape, order="F" if order == "F" else "C")


def _scalar(data_type: _DataType, data: Any) -> Any:
    content = data.encode("latin1") if isinstance(data, str) else data
    _check_size((), data_type.dtype, content)
    return np.frombuffer(content, data_type.dtype)[0]


def _check_size(shape: tuple[int, ...], dtype: np.dtype[Any], content: bytes) -> None:
    if _count(shape) * dtype.itemsize != len(content):
        raise ValueError(f"an array {shape} of {dtype} has {len(content)} bytes")


def _check_objects(shape: tuple[int, ...], objects: list[Any]) -> None:
    if type(objects) is not list or _count(shape) != len(objects):
        raise ValueError(f"an array {shape} of objects has not as many in a list")
    if any(isinstance(each, np.ndarray) and each.dtype.hasobject for each in objects):
        raise ValueError("arrays of objects in one another, whose end numpy seeks in the C stack")


def _count(shape: tuple[int, ...]) -> int:
    """Return how many elements an array of this shape has."""
    if type(shape) is not tuple or len(shape) > 32 or not all(type(n) is int and 0 <= n < 1 << 40 for n in shape):
        raise ValueError("an array of no shape")
    return math.prod(shape)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """Stand in for `_codecs.encode`, with which Python 3 writes bytes for Python 2."""
    if encoding not in ("latin1", "latin-1"):
        raise ValueError(f"bytes written as {shown(encoding)}, expected latin1")
    return text.encode("latin1")


def _bytes(content: Any = b"", encoding: str = "latin1") -> bytes:
    """Stand in for `bytes`, which of a number would make as many zeros."""
    if not isinstance(content, str | bytes | bytearray):
        raise TypeError(f"bytes of a {type(content).__name__}, expected text or bytes")
    return _encode(content, encoding) if isinstance(content, str) else bytes(content)


def _bytearray(content: Any = b"", encoding: str = "latin1") -> bytearray:
    return bytearray(_bytes(content, encoding))


def _set(elements: Any = ()) -> set[Any]:
    if not isinstance(elements, list | tuple):
        raise TypeError(f"a set of a {type(elements).__name__}, expected a list")
    return set(map(_plain_key, elements))


def _ordered(pairs: Any = ()) -> OrderedDict[Any, Any]:
    if not isinstance(pairs, list | tuple):
        raise TypeError(f"a dictionary of a {type(pairs).__name__}, expected a list of pairs")
    return OrderedDict((_plain_key(key), value) for key, value in pairs)


_PLAIN: dict[tuple[str, str], Any] = {
    **{
        (module, name): stand_in
        for module in ("builtins", "__builtin__")
        for name, stand_in in (("set", _set), ("bytes", _bytes), ("bytearray", _bytearray))
    },
    ("collections", "OrderedDict"): _ordered,
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): None,  # said of an array that `_reconstruct` makes
    ("numpy", "dtype"): _DataType,
    **{
        (f"numpy.{core}.{module}", name): stand_in
        for core in ("core", "_core")
        for module, name, stand_in in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _from_buffer),
        )
    },
}
