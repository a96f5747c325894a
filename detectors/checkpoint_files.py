"""Tensors out of any published checkpoint file, by what the file is; nothing that it holds is executed."""

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
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
    if start.startswith(b"PK") or start == LEGACY_TORCH:
        content = _read_torch(path)
    elif start.startswith(b"\x80"):
        content = _read_pickle(path)
    else:
        content = _read_safetensors(path)
    tensors = {name: torch.as_tensor(value) for name, value in _innermost(content).items() if _is_array(value)}
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


_RECONSTRUCT, _SCALAR = (value.__reduce__()[0] for value in (np.zeros(0), np.float64(0)))
"""What numpy has pickles call, wherever its version keeps them."""


class _ArrayUnpickler(pickle.Unpickler):
    """Admits numpy arrays of numbers in plain containers, as detectron2's model zoo writes them."""

    ADMITTED: Mapping[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): OrderedDict,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
        **{
            (f"numpy.{core}.multiarray", name): function
            for core in ("core", "_core")
            for name, function in (("_reconstruct", _RECONSTRUCT), ("scalar", _SCALAR))
        },
    }

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _encode
        if (module, name) not in self.ADMITTED:
            raise CheckpointError(
                f"the pickle names {module}.{name}, expected arrays in plain containers; nothing of it was run"
            )
        return self.ADMITTED[module, name]


def _encode(text: str, encoding: str) -> bytes:
    """Stand in for `_codecs.encode`, with which Python 3 writes bytes for Python 2."""
    if encoding != "latin1":
        raise ValueError(f"bytes written as {encoding}, expected latin1")
    return text.encode("latin1")


def _innermost(content: Any) -> Mapping[str, Any]:
    """Return the mapping of names to arrays, whatever training has wrapped around it."""
    for nest in NESTS:
        if isinstance(content, Mapping) and isinstance(content.get(nest), Mapping):
            return _innermost(content[nest])
    return content if isinstance(content, Mapping) else {}


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in "fiub")


def _told(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"a mapping of {', '.join(map(repr, list(content)[:5])) or 'nothing'}"
    return f"a {type(content).__name__}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
