"""Arrays out of an `.npz` without trust: sizes are checked before memory is taken, objects go through a restricted
unpickler."""

import io
import math
import zipfile
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.lib import format as npy

from annotations.guards.restricted_pickle import load_restricted
from stores.interchange.rows import RowError

MAX_BYTES = 1 << 28
"""Size of one array at most; 100 boxes x 2048 features take a megabyte."""


def read_members(content: bytes, wanted: Collection[str], stand_ins: Any = None) -> dict[str, Any]:
    """Return those of the wanted arrays that the file has; of an array of objects, the one object in it.

    Raises:
        RowError: it is no whole `.npz`, or holds what only running code could restore.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            present = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            return {name: _read(archive, present[name], stand_ins) for name in wanted if name in present}
    except RowError:
        raise
    except Exception as error:  # zipfile says of damage whatever its parts say, numpy of a header whatever Python does
        raise RowError(f"not a whole .npz of plain arrays ({error})") from error


def _read(archive: zipfile.ZipFile, info: zipfile.ZipInfo, stand_ins: Any) -> Any:
    if info.file_size > MAX_BYTES:
        raise RowError(f"{info.filename} has {info.file_size} bytes, expected at most {MAX_BYTES}")
    content = io.BytesIO(archive.read(info))
    version = npy.read_magic(content)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, dtype = read_header(content)
    if dtype.hasobject:
        loaded = load_restricted(content, place=info.filename, allowed=stand_ins)
        if not isinstance(loaded, np.ndarray) or loaded.size != 1:
            raise RowError(f"{info.filename} holds {type(loaded).__name__}, expected one object")
        return loaded.item()
    if math.prod(shape) * dtype.itemsize != info.file_size - content.tell():
        raise RowError(f"{info.filename} has {info.file_size} bytes, expected {list(shape)} of {dtype}")
    content.seek(0)
    return npy.read_array(content, allow_pickle=False)
