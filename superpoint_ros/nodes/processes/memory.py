"""Memory that the C library and PyTorch keep although nothing uses it any more."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress


def give_back_unused_memory() -> None:
    """Return to the system what glibc keeps of freed memory; does nothing with another C library.

    glibc takes the sizes that a thread frees, up to 32 MiB, as a sign of what it will want again. So it keeps hundreds
    of megabytes of the feature maps of a few images that were ten times as large as the others.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def give_back_unused_gpu_memory() -> None:
    """Return to the driver what PyTorch keeps of freed GPU memory; does nothing where it has used no GPU.

    Not between two images: the next one would want it again, and this waits for the GPU.
    """
    torch = sys.modules.get("torch")
    if torch is not None:
        with suppress(RuntimeError):  # of a GPU that is lost
            torch.cuda.empty_cache()
