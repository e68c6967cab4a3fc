"""Arrays of a safetensors file, mapped: the system reads pages as they are used, and keeps one copy
for all processes."""

from __future__ import annotations

import mmap
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from vitrina.bundle.manifest import WAY_OUT
from vitrina.errors import BundleError

_DTYPES: Final = {"F32": np.float32, "I32": np.int32, "I64": np.int64, "U8": np.uint8}
"""The types that bundles hold, by their names in the format."""


def map_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """The file's arrays by name, read-only, without a copy.

    safetensors' own reader copies each array into the process. The format: eight bytes with the
    header's length, the header (JSON: type, shape and place of each array), and the bytes.
    Raises BundleError for a file that is not of that form.
    """
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        start = 8 + int.from_bytes(mapped[:8], "little")
        header = orjson.loads(mapped[8:start])
        return {
            name: _array(mapped, start, entry)
            for name, entry in header.items()
            if name != "__metadata__"
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"{path} cannot be read: {error}. {WAY_OUT}") from error


def _array(mapped: mmap.mmap, start: int, entry: dict[str, Any]) -> NDArray[Any]:
    begin, end = entry["data_offsets"]
    dtype = np.dtype(_DTYPES[entry["dtype"]])
    values = np.frombuffer(mapped, dtype, (end - begin) // dtype.itemsize, start + begin)
    return values.reshape(entry["shape"])
