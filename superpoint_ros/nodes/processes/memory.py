"""Memory that the C library keeps although nothing uses it any more."""

from __future__ import annotations

import ctypes


def give_back_unused_memory() -> None:
    """Return to the system what glibc keeps of freed memory; does nothing with another C library.

    glibc takes the sizes that a thread frees, up to 32 MiB, as a sign of what it will want again. So it keeps hundreds
    of megabytes of the feature maps of a few images that were ten times as large as the others.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
