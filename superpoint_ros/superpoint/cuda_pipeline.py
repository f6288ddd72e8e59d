"""Features on a GPU: one upload, one launch, one download per frame, and nothing that waits in between.

    host:    images -> pinned memory                                               pinned memory -> Features
                            | upload                                                     ^ download
    device:               bytes -> luminance, resize, padding -> network -> decoding -> result

What lies between upload and download is a CUDA graph for each `FrameShape`. A new shape runs as single kernels at once;
with its second frame it is recorded, in a thread of its own, while frames go on as single kernels. All of it also runs
on CPU tensors, without graphs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeGuard

import numpy as np
import torch

from .backends import Backend, device_errors
from .config import DescriptorGrid
from .cuda_frame import FrameBuffers, FrameComputation, FrameShape, Images, Masks
from .cuda_graphs import GraphRecorder, RecentlyUsed
from .features import Features
from .options import DetectionOptions

Recorder: TypeAlias = Callable[[Callable[[], None]], Callable[[], None]]
"""Takes a function of fixed buffers and returns what does its work faster; see `GraphRecorder`."""

_log = logging.getLogger(__name__)


class CudaPipeline:
    """Extracts features on a GPU with up to `slots` frames in flight.

    Frames are submitted by one thread; another one may collect them.

    Parameters
    ----------
    backend : callable
        Runs the network; see `backends.Backend`.
    device : torch.device
    descriptor_grid : {"magicleap", "cell_centers"}
    descriptor_size : int
        Length of a descriptor.
    slots : int
        Frames that may be in flight. Each has its own stream, buffers and graphs from the first time that it is needed.
    max_shapes : int
        Shapes of frames that each slot keeps ready.
    make_recorder : callable, optional
        Returns what records graphs for a slot. By default that is `GraphRecorder` on a GPU, and nothing on a CPU.
    """

    def __init__(
        self,
        backend: Backend,
        device: torch.device,
        descriptor_grid: DescriptorGrid,
        descriptor_size: int,
        *,
        slots: int = 2,
        max_shapes: int = 16,
        make_recorder: Callable[[], Recorder | None] | None = None,
    ) -> None:
        def default_recorder() -> Recorder | None:
            return GraphRecorder(device) if device.type == "cuda" else None

        self._computation = FrameComputation(backend, descriptor_grid, descriptor_size)
        self._slots = [_Slot(device, max_shapes, make_recorder or default_recorder) for _ in range(slots)]
        self._free = list(self._slots)
        if device.type == "cuda":
            torch.cuda.synchronize(device)  # the weights were put there on another stream
        self._recording = ThreadPoolExecutor(1, thread_name_prefix="cuda_graphs")

    @staticmethod
    def supports(images: Sequence[Any], options: DetectionOptions) -> TypeGuard[Images]:
        """Tell whether these are uint8 arrays of one shape, (H, W) or (H, W, 3), and the result has a largest size."""
        return (
            options.max_keypoints > 0
            and all(isinstance(image, np.ndarray) and image.dtype == np.uint8 and image.size for image in images)
            and len({image.shape for image in images}) == 1
            and (images[0].ndim == 2 or (images[0].ndim == 3 and images[0].shape[2] == 3))
        )

    def submit(self, images: Images, options: DetectionOptions, masks: Masks | None = None) -> Pending:
        """Start on a batch and return before it is done.

        Parameters
        ----------
        images : sequence of ndarray, (H, W) or (H, W, 3), uint8
            As `supports` wants them; copied before this returns.
        options : DetectionOptions
            Other values of `threshold` and `border` cost nothing; any other field makes a new shape.
        masks : sequence of ndarray (H, W), uint8 or bool, or None; optional
            See `SuperPointExtractor`.

        Raises
        ------
        RuntimeError
            If all slots hold frames that were not collected.
        MemoryError
            If the GPU has too little free memory, also without all that is kept ready.
        DeviceError
            See `backends.device_errors`.
        """
        if not self._free:
            raise RuntimeError(f"{len(self._slots)} frames are in flight: collect one before submitting the next")
        slot = self._free.pop()
        try:
            try:
                return self._start(slot, images, options, masks)
            except MemoryError:
                pass  # and out of this block, where the error's traceback keeps tensors alive
            with device_errors():
                self._release_memory()
            return self._start(slot, images, options, masks)
        except BaseException:
            self._free.append(slot)
            raise

    def collect(self, pending: Pending) -> list[Features]:
        """Wait for a submitted batch and return its features, in pixels of the given images.

        Raises
        ------
        RuntimeError
            If this frame has been collected before.
        DeviceError
            See `backends.device_errors`.
        """
        slot = pending.slot
        if slot.pending is not pending:
            raise RuntimeError("this frame has been collected before")
        try:
            with device_errors():
                slot.wait()
            return pending.buffers.read()
        finally:
            slot.pending = None
            self._free.append(slot)

    def prepare(self, images: Images, options: DetectionOptions, masks: Masks | None = None) -> None:
        """Return when frames of this shape are as fast as they get, in all slots."""
        shape = FrameShape.of(images, options, masks)
        for slot in self._slots:
            if slot.record is not None:
                with device_errors():
                    buffers = self._new_buffers(slot, shape)
                buffers.recording_asked = True
                slot.buffers.put(shape, buffers)
                self._recording.submit(self._record, slot, shape).result()
        self.collect(self.submit(images, options, masks))

    def finish_recording(self) -> None:
        """Wait for the graphs that are being recorded."""
        self._recording.submit(lambda: None).result()

    @torch.inference_mode()
    def _start(self, slot: _Slot, images: Images, options: DetectionOptions, masks: Masks | None) -> Pending:
        shape = FrameShape.of(images, options, masks)
        buffers = slot.buffers.get(shape)
        with device_errors(), slot.on_stream():
            if buffers is None:
                buffers = self._new_buffers(slot, shape)
                slot.buffers.put(shape, buffers)
            elif slot.record is not None and not buffers.recording_asked:
                buffers.recording_asked = True
                self._recording.submit(self._record, slot, shape)
            buffers.write(images, options, masks)
            buffers.launch()
            slot.mark()
        slot.pending = Pending(slot, buffers)
        return slot.pending

    def _record(self, slot: _Slot, shape: FrameShape) -> None:
        """Record the graph of a shape on buffers of its own, and let these take over."""
        assert slot.record is not None
        try:
            buffers = self._new_buffers(slot, shape)
            buffers.recording_asked = True
            with slot.on_stream():  # whose earlier frames may still use the memory that the buffers now have
                buffers.replay = slot.record(buffers.compute)
        except Exception as error:  # whatever it is, single kernels still work, or say better why not
            _log.warning("%s stays without CUDA graph: %s", shape, error)
        else:
            slot.buffers.replace(shape, buffers)

    @torch.inference_mode()
    def _new_buffers(self, slot: _Slot, shape: FrameShape) -> FrameBuffers:
        with slot.on_stream():
            return FrameBuffers(shape, self._computation, slot.device)

    def _release_memory(self) -> None:
        """Give up all that is kept ready, in the thread that adds to it."""

        def release() -> None:
            for slot in self._slots:
                slot.forget()
            if torch.cuda.is_initialized():
                torch.cuda.empty_cache()

        self._recording.submit(release).result()


class _Slot:
    """Room for one frame in flight."""

    def __init__(self, device: torch.device, max_shapes: int, make_recorder: Callable[[], Recorder | None]) -> None:
        self.device = device
        self.buffers: RecentlyUsed[FrameShape, FrameBuffers] = RecentlyUsed(max_shapes)
        self.pending: Pending | None = None
        self._make_recorder = make_recorder
        self.record = make_recorder()
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._done = torch.cuda.Event() if device.type == "cuda" else None

    def on_stream(self) -> AbstractContextManager[Any]:
        """Let device work be put into this slot's stream."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def mark(self) -> None:
        """Remember that what is in the stream now is the frame."""
        if self._done is not None:
            self._done.record(self._stream)

    def wait(self) -> None:
        """Return when the frame is done."""
        if self._done is not None:
            self._done.synchronize()

    def forget(self) -> None:
        """Drop buffers and graphs but for those of the frame in flight."""
        self.buffers.clear()
        self.record = self._make_recorder()


@dataclass(frozen=True, eq=False)
class Pending:
    """A batch of images in flight: what `CudaPipeline.submit` returns and `collect` takes."""

    slot: _Slot
    buffers: FrameBuffers
