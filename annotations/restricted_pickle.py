"""Unpickles what plain data sets hold, and refuses everything else before any of it runs.

A pickle is a program: it may name any function and have it called. Here the only names with a meaning are stand-ins
of this module and those that the caller admits, so all that can be built is containers, numbers, text and arrays.
"""

import math
import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, ClassVar

import numpy as np
from numpy.typing import NDArray

from annotations.drops import DataError


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
        DataError: the pickle is damaged, or names anything else; nothing of what it names was run.
    """
    try:
        return _Unpickler(file, place, {**_PLAIN, **(allowed or {})}, encoding).load()
    except DataError:
        raise
    except (
        *(pickle.UnpicklingError, EOFError, ValueError, TypeError, LookupError, AttributeError),
        *(OverflowError, MemoryError, RecursionError, struct.error, AssertionError, NameError),
    ) as error:
        raise DataError(
            f"{place}: not a whole pickle of plain values ({type(error).__name__}: {error}); fetch it again"
        ) from error


class _Unpickler(pickle._Unpickler):
    """The one in Python: that in C makes room for as many objects to remember as a pickle says, which may be 64 GB."""

    dispatch: ClassVar[dict[int, Callable[..., None]]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: BinaryIO, place: str, allowed: Mapping[tuple[str, str], Any], encoding: str) -> None:
        super().__init__(file, encoding=encoding)
        self._place = place
        self._allowed = allowed

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self._allowed:
            raise DataError(
                f"{self._place}: the pickle names {module}.{name}, expected plain values and arrays only; it was "
                "refused and nothing of it was run"
            )
        return self._allowed[module, name]

    def load_bytearray8(self) -> None:
        """Read first: the inherited one makes room for as many bytes as a pickle says."""
        (size,) = struct.unpack("<Q", self.read(8))  # type: ignore[attr-defined]  # its stub lacks what load() sets
        self.append(bytearray(self.read(size)))  # type: ignore[attr-defined]  # the same

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


class _DataType:
    """A numpy dtype's name and byte order; numpy's own would trust whatever sizes a pickle tells it."""

    def __init__(self, name: str, *_: Any) -> None:
        self.dtype = np.dtype(str(name))
        if self.dtype.kind not in "biufcSUO":
            raise TypeError(f"an array of {name}, expected numbers, text or objects")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(order)


class _Array(np.ndarray[Any, Any]):
    """A numpy array that checks the size of its data itself."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, data_type, is_fortran, data = state
        if data_type.dtype.kind == "O":
            _check_length(shape, data)
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
    if min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != len(content):
        raise ValueError(f"an array {shape} of {dtype} has {len(content)} bytes")


def _check_length(shape: tuple[int, ...], objects: list[Any]) -> None:
    if type(objects) is not list or min(shape, default=0) < 0 or math.prod(shape) != len(objects):
        raise ValueError(f"an array {shape} of objects has not as many in a list")


def _encode(text: str, encoding: str) -> bytes:
    """Stand in for `_codecs.encode`, with which Python 3 writes bytes for Python 2."""
    if encoding != "latin1":
        raise ValueError(f"bytes written as {encoding}, expected latin1")
    return text.encode("latin1")


_PLAIN: dict[tuple[str, str], Any] = {
    **{
        (module, name): kind
        for module in ("builtins", "__builtin__")
        for name, kind in (("set", set), ("bytes", bytes))
    },
    **{(module, "bytearray"): bytearray for module in ("builtins", "__builtin__")},
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): _Array,
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
