"""What training does on a GPU only, so that neither waits for the other: the GPU for the host, the host for the GPU."""

from __future__ import annotations

from collections.abc import Callable

import torch

from .dataset import PairBatch


class PairStream:
    """Makes pairs on a stream of their own.

    How many points a batch has only the GPU knows, so making one waits for its stream: beside it the last step's work
    goes on in the main stream.

    Parameters
    ----------
    device : torch.device
        On a CPU pairs are made where they are asked for.
    """

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device, priority=-1) if device.type == "cuda" else None

    def __call__(self, sample: Callable[[], PairBatch]) -> PairBatch:
        """Return what `sample` returns, ready for the current stream."""
        if self._stream is None:
            return sample()
        with torch.cuda.stream(self._stream):
            batch = sample()
        current = torch.cuda.current_stream(self._stream.device)
        current.wait_stream(self._stream)
        for tensor in batch.tensors():
            tensor.record_stream(current)  # its memory may be used again only when the step has read it
        return batch


def use_fast_arithmetic(device: torch.device) -> None:
    """Let cuDNN try its kernels for each new shape, and float32 products, of descriptors and in Muon, run in TF32.

    `homographies`, which may not be so rounded, has no products.
    """
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.backends.cuda.matmul.allow_tf32 = True
