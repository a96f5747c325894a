"""Tensors out of any published checkpoint file, by what the file is; nothing that it holds is executed."""

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

NESTS = ("model", "state_dict", "model_state_dict")
"""Under which of these a checkpoint of training keeps its tensors, beside what else it keeps."""

LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""What a file of torch before 1.6 begins with: a pickled number."""


class CheckpointError(ValueError):
    """A file gives no tensors; the message says why, without the file's name."""


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return a checkpoint's tensors by name: safetensors, torch's own files, or a pickle of numpy arrays.

    Raises:
        CheckpointError: the file is damaged, or holds anything else; nothing of it was run.
    """
    with path.open("rb") as file:
        start = file.read(len(LEGACY_TORCH))
    if start[8:9] == b"{":  # behind a length, which may begin like a pickle
        content = _read_safetensors(path)
    elif start.startswith(b"PK") or start == LEGACY_TORCH:
        content = _read_torch(path)
    elif start.startswith(b"\x80"):
        content = _read_pickle(path)
    else:
        content = _read_safetensors(path)
    found = {name: _as_tensor(value) for name, value in _innermost(content).items()}
    tensors = {name: tensor for name, tensor in found.items() if tensor is not None}
    if not tensors:
        raise CheckpointError(f"no tensors; the file holds {_told(content)}, expected names with arrays")
    broken = sorted(name for name, each in tensors.items() if each.is_floating_point() and not each.isfinite().all())
    if broken:
        raise CheckpointError(f"not finite: {', '.join(broken)}")
    return tensors


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"it names more than tensors and plain containers, and nothing of it was run ({_first_line(error)})"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"damaged or cut off ({_first_line(error)})") from error


def _read_safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"neither safetensors, nor a file of torch, nor a pickle ({error})") from error


def _read_pickle(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            return _ArrayUnpickler(file, encoding="latin1").load()
    except CheckpointError:
        raise
    except Exception as error:  # on hostile bytes pickle raises nearly anything
        raise CheckpointError(f"damaged or cut off ({type(error).__name__}: {_first_line(error)})") from error


class _DataType:
    """Stands in for numpy's dtype, which would trust whatever sizes, and pointers, a pickle tells it."""

    def __init__(self, name: str, *_: Any) -> None:
        self.dtype = np.dtype(str(name))
        if self.dtype.kind not in "biuf":
            raise TypeError(f"an array of {name}, expected numbers")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """Stands in for numpy's array: what a pickle says of it is looked at before an array is made of it."""

    def __init__(self, *_: Any) -> None:
        self.values: NDArray[Any] = np.zeros(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, data_type, is_fortran, data = state
        flat = np.frombuffer(data.encode("latin1") if isinstance(data, str) else data, data_type.dtype)
        self.values = flat.reshape(shape, order="F" if is_fortran else "C")


def _scalar(*_: Any) -> None:
    """Stand in for a single number, of which no tensor is made."""


class _ArrayUnpickler(pickle.Unpickler):
    """Admits arrays of numbers in plain containers, as detectron2's model zoo writes them; everything by stand-ins."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _STAND_INS:
            raise CheckpointError(
                f"the pickle names {module}.{name}, expected arrays in plain containers; nothing of it was run"
            )
        return _STAND_INS[module, name]


def _encode(text: str, encoding: str) -> bytes:
    """Stand in for `_codecs.encode`, with which Python 3 writes bytes for Python 2."""
    if encoding != "latin1":
        raise ValueError(f"bytes written as {encoding}, expected latin1")
    return text.encode("latin1")


_STAND_INS: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("_codecs", "encode"): _encode,
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _DataType,
    **{
        (f"numpy.{core}.multiarray", name): stand_in
        for core in ("core", "_core")
        for name, stand_in in (("_reconstruct", _Array), ("scalar", _scalar))
    },
}


def _innermost(content: Any) -> Mapping[str, Any]:
    """Return the mapping of names to arrays, whatever training has wrapped around it."""
    for nest in NESTS:
        if isinstance(content, Mapping) and isinstance(content.get(nest), Mapping):
            return _innermost(content[nest])
    return content if isinstance(content, Mapping) else {}


def _as_tensor(value: Any) -> Tensor | None:
    """Return what training keeps as numbers; None for the rest of what it keeps."""
    if isinstance(value, _Array):
        return torch.from_numpy(np.array(value.values.astype(value.values.dtype.newbyteorder("="))))
    return value if isinstance(value, Tensor) else None


def _told(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"a mapping of {', '.join(map(repr, list(content)[:5])) or 'nothing'}"
    return f"a {type(content).__name__}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
