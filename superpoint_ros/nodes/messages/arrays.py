"""NumPy arrays as the arrays that message fields take."""

from __future__ import annotations

from array import array
from typing import Any

import numpy as np
import numpy.typing as npt


def packed(typecode: str, values: npt.NDArray[Any]) -> array[Any]:
    """Copy an ndarray once, as bytes: assigning a list or an ndarray to a message field converts element by element."""
    result = array(typecode)
    result.frombytes(np.ascontiguousarray(values, dtype=typecode).data.cast("B") if values.size else b"")
    return result
