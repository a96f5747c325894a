"""Tensors out of any published checkpoint file, by what the file is; nothing that it holds is executed."""

import io
import pickle
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from annotations.guards.drops import DataError
from annotations.guards.restricted_pickle import load_restricted
from annotations.guards.shown import shown

NESTS = ("model", "state_dict", "model_state_dict")
"""Under which of these a checkpoint of training keeps its tensors, beside what else it keeps."""

LEGACY_TORCH = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""What a file of torch before 1.6 begins with: a pickled number."""

NUM_LEGACY_PICKLES = 5
"""Pickles of such a file: that number, a version, sizes of C's types, the content, and the keys of what follows."""

TORCH_NAMES: Mapping[str, frozenset[str]] = {
    "collections": frozenset({"OrderedDict"}),
    "_codecs": frozenset({"encode"}),
    "torch": frozenset({"Size", "device"}),
    "torch._utils": frozenset(
        {"_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter", "_rebuild_parameter_with_state"}
    ),
    "torch.nn.parameter": frozenset({"Parameter"}),
    **dict.fromkeys(("builtins", "__builtin__"), frozenset({"set", "complex"})),
}
TORCH_STORAGE = re.compile(r"[A-Z]\w+Storage|(float|bfloat|int|uint)\d+|complex\d+|bool")
"""What a file of torch may name: what restores tensors in plain containers, and takes no room beyond the file's."""


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
        content = read_torch(path)
    elif start.startswith(b"\x80"):
        content = _read_pickle(path)
    else:
        content = _read_safetensors(path)
    found = {name: _as_tensor(name, value) for name, value in _innermost(content).items() if isinstance(name, str)}
    tensors = {name: tensor for name, tensor in found.items() if tensor is not None}
    if not tensors:
        raise CheckpointError(f"no tensors; the file holds {_told(content)}, expected names with arrays")
    broken = sorted(name for name, each in tensors.items() if each.is_floating_point() and not each.isfinite().all())
    if broken:
        raise CheckpointError(f"not finite: {', '.join(broken)}")
    return tensors


def read_torch(path: Path) -> Any:
    """Return what a file of torch's holds: tensors in plain containers.

    Raises:
        CheckpointError: the file is damaged, or names anything else; nothing of it was run.
    """
    try:
        _check_torch(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"it names more than tensors and plain containers, and nothing of it was run ({_first_line(error)})"
        ) from error
    except Exception as error:  # on hostile bytes torch raises nearly anything
        raise CheckpointError(f"damaged or cut off ({type(error).__name__}: {_first_line(error)})") from error
    return content


def _check_torch(path: Path) -> None:
    """Raise an error where loading would make room for what the file only claims to hold.

    `weights_only` admits names that make as much room as a pickle says, such as `bytearray`, and unpacks whatever was
    compressed, which torch does to nothing.
    """
    with path.open("rb") as file:
        if file.read(2) != b"PK":
            file.seek(0)
            for _ in range(NUM_LEGACY_PICKLES):
                _check_names(file)
            return
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        names = [member.filename for member in members]
        if repeated := sorted({name for name in names if names.count(name) > 1})[:3]:
            raise CheckpointError(f"damaged: {', '.join(repeated)} stands in it twice")
        size = path.stat().st_size
        for member in members:
            if member.compress_type != zipfile.ZIP_STORED or member.file_size > size:
                raise CheckpointError(f"{member.filename} is compressed in it, expected a file as torch writes it")
            if member.filename.endswith(".pkl"):
                _check_names(io.BytesIO(archive.read(member)))


def _check_names(file: IO[bytes]) -> None:
    for instruction, argument, _ in pickletools.genops(file):
        if instruction.name != "GLOBAL":
            continue
        module, _, name = str(argument).partition(" ")
        if name not in TORCH_NAMES.get(module, ()) and not (module == "torch" and TORCH_STORAGE.fullmatch(name)):
            raise pickle.UnpicklingError(f"{module}.{name}"[:100])


def _read_safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(
            f"neither safetensors, nor a file of torch, nor a pickle ({_first_line(error)})"
        ) from error


def _read_pickle(path: Path) -> Any:
    """Return what a pickle holds, as detectron2's model zoo writes them: arrays in plain containers."""
    try:
        with path.open("rb") as file:
            return load_restricted(file, place=path.name)
    except DataError as error:
        raise CheckpointError(f"not arrays in plain containers ({error})") from error


def _innermost(content: Any) -> Mapping[str, Any]:
    """Return the mapping of names to arrays, whatever training has wrapped around it."""
    for _ in NESTS:  # at most as often: a mapping of a pickle may hold itself
        found = (content.get(nest) for nest in NESTS) if isinstance(content, Mapping) else ()
        content = next((each for each in found if isinstance(each, Mapping)), content)
    return content if isinstance(content, Mapping) else {}


def _as_tensor(name: str, value: Any) -> Tensor | None:
    """Return what training keeps as numbers; None for the rest of what it keeps."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.from_numpy(np.array(value.astype(value.dtype.newbyteorder("="))))
    if not isinstance(value, Tensor):
        return None
    if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
        raise CheckpointError(f"{shown(name)} is a {value.layout} tensor on {value.device}, expected plain numbers")
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise CheckpointError(f"{shown(name)} is {list(value.shape)}, more numbers than the file has of it")
    return value if value.numel() else None  # a shape without numbers may say anything


def _told(content: Any) -> str:
    if isinstance(content, Mapping):
        return f"a mapping of {', '.join(map(shown, list(content)[:5])) or 'nothing'}"
    return f"a {type(content).__name__}"


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
