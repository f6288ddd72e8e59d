"""Where the time of a frame goes: stages, layers and networks against what the device can do."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from superpoint_ros.superpoint.backends import TorchBackend
from superpoint_ros.superpoint.cuda_decoding import decode_fixed, suppress
from superpoint_ros.superpoint.cuda_frame import FrameBuffers, FrameComputation, FrameShape, to_network_input
from superpoint_ros.superpoint.cuda_network import FusedNetwork, Network, cudnn_conv_relu
from superpoint_ros.superpoint.decoding import score_map

from .bench import (
    CHECKPOINT,
    CONFIG,
    OPTIONS,
    Bench,
    Row,
    photographs,
    roofline,
)


def stages(bench: Bench) -> list[Row]:
    """Stages of one gray frame against the roofline: the fewest operations and bytes, at the rates measured above."""
    rates = list(roofline(bench).values())
    rows, backend = [], bench.backend()
    for size in bench.sizes:
        for stage in _stages(bench, backend, size):
            rate = {"upload": rates[2], "download": rates[3]}.get(stage.name, rates[1])
            floor = 1e3 * max(stage.operations / rates[0], stage.bytes / rate)
            with torch.inference_mode():
                took = bench.milliseconds(stage.work, as_graph=stage.name not in ("upload", "download"))
            rows.append(
                {"size": f"{size[0]}x{size[1]}", "stage": stage.name, "ms": took, "floor ms": floor, "x": took / floor}
            )
        rows += _host_work(bench, size)
    return rows


@dataclass(frozen=True)
class Stage:
    name: str
    work: Callable[[], Any]
    bytes: float
    operations: float = 0.0


@torch.inference_mode()
def _stages(bench: Bench, backend: TorchBackend, size: tuple[int, int]) -> list[Stage]:
    device = bench.device
    images = photographs(size, 1)
    raw = torch.from_numpy(images[0])[None]
    host = raw.pin_memory() if bench.on_gpu else raw
    uploaded = raw.to(device)
    batch = to_network_input(uploaded, size)
    output = backend(batch)
    scores = score_map(output.keypoint_logits)
    threshold, border = (torch.tensor(value, dtype=torch.float32, device=device) for value in (0.005, 4.0))
    peaks = scores.masked_fill(~suppress(scores, OPTIONS.nms_radius, threshold), 0.0).flatten(1)
    count = min(OPTIONS.max_keypoints, peaks.shape[1])
    pixels, rows = batch.numel(), count * (3 + CONFIG.descriptor_decoder_dim) * 4
    result = torch.empty(rows, dtype=torch.uint8, device=device)
    back = torch.empty(rows, dtype=torch.uint8, pin_memory=bench.on_gpu)
    operations, moved = _network_cost(batch.shape[2], batch.shape[3])
    buffers = FrameBuffers(
        FrameShape.of(images, OPTIONS, None),
        FrameComputation(backend, CONFIG.descriptor_grid, CONFIG.descriptor_decoder_dim),
        device,
    )
    buffers.write(images, OPTIONS, None)
    buffers.launch()

    def decode() -> Any:
        return decode_fixed(output, OPTIONS, threshold, border, CONFIG.descriptor_grid, size, size)

    read = output.keypoint_logits.nbytes + count * (25 * 4 + 4 * CONFIG.descriptor_decoder_dim * 2)
    return [
        Stage("upload", lambda: uploaded.copy_(host, non_blocking=True), raw.numel()),
        Stage("conversion", lambda: to_network_input(uploaded, size), 5 * pixels),
        Stage("network", lambda: backend(batch), moved, operations),
        Stage("decoding: score map", lambda: score_map(output.keypoint_logits), 6 * pixels),
        Stage("decoding: suppression", lambda: suppress(scores, OPTIONS.nms_radius, threshold), 5 * pixels),
        Stage("decoding: best", lambda: peaks.topk(count), 4 * pixels),
        Stage("decoding, all", decode, read + rows),
        Stage("download", lambda: back.copy_(result, non_blocking=True), rows),
        Stage("all between upload and download", buffers.compute, moved + pixels + read + rows, operations),
    ]


def _host_work(bench: Bench, size: tuple[int, int]) -> list[Row]:
    """What the host does for a frame, in its own time."""
    images = photographs(size, 1)
    pipeline = bench.pipeline()
    pipeline.prepare(images, OPTIONS)
    submit, collect = [], []
    for _ in range(bench.rounds(200)):
        started = time.perf_counter()
        pending = pipeline.submit(images, OPTIONS)
        submit.append(time.perf_counter() - started)
        bench.synchronise()
        started = time.perf_counter()
        pipeline.collect(pending)
        collect.append(time.perf_counter() - started)
    return [
        {"size": f"{size[0]}x{size[1]}", "stage": name, "ms": 1e3 * float(np.median(seconds))}
        for name, seconds in (("host: submit", submit), ("host: collect", collect))
    ]


@dataclass(frozen=True)
class Layer:
    name: str
    inputs: int
    outputs: int
    kernel: int
    shrink: int
    """Pixels of the image along a side for each of the map."""


def _layers() -> list[Layer]:
    sizes, hidden = CONFIG.encoder_hidden_sizes, CONFIG.decoder_hidden_size
    layers = []
    for index, (before, after) in enumerate(zip((1, *sizes[:-1]), sizes)):
        layers.append(Layer(f"conv{index + 1}a", before, after, 3, 2**index))
        layers.append(Layer(f"conv{index + 1}b", after, after, 3, 2**index))
    for name, channels in (("keypoints", CONFIG.keypoint_decoder_dim), ("descriptors", CONFIG.descriptor_decoder_dim)):
        layers.append(Layer(f"{name} a", sizes[-1], hidden, 3, 8))
        layers.append(Layer(f"{name} b", hidden, channels, 1, 8))
    return layers


def _layer_cost(layer: Layer, height: int, width: int) -> tuple[float, float]:
    """Operations, and bytes in half precision: inputs and weights read, outputs written, once each."""
    pixels = height * width // layer.shrink**2
    weights = layer.inputs * layer.outputs * layer.kernel**2
    return 2.0 * pixels * weights, 2.0 * (pixels * (layer.inputs + layer.outputs) + weights)


def _network_cost(height: int, width: int) -> tuple[float, float]:
    costs = [_layer_cost(layer, height, width) for layer in _layers()]
    return sum(cost[0] for cost in costs), sum(cost[1] for cost in costs)


def layers(bench: Bench) -> list[Row]:
    """Convolutions with bias and ReLU at the first size, fused and plain, against the roofline; nan: cuDNN cannot."""
    rates = list(roofline(bench).values())
    dtype = torch.float16 if bench.on_gpu else torch.float32
    height, width = bench.sizes[0]
    rows = []
    for layer in _layers():
        row: Row = {"layer": layer.name}
        operations, moved = _layer_cost(layer, height, width)
        floor = 1e3 * max(operations / rates[0], moved / rates[1])
        for name, channels in (("plain ms", layer.inputs), ("fused ms", max(layer.inputs, 8))):
            shape = (1, channels, height // layer.shrink, width // layer.shrink)
            features, weight = (
                torch.randn(one, device=bench.device, dtype=dtype).to(memory_format=torch.channels_last)
                for one in (shape, (layer.outputs, channels, layer.kernel, layer.kernel))
            )
            bias = torch.randn(layer.outputs, device=bench.device, dtype=dtype)
            convolve = cudnn_conv_relu if name == "fused ms" and bench.on_gpu else _plain_conv_relu
            try:
                row[name] = bench.milliseconds(lambda f=features, w=weight, b=bias, c=convolve: c(f, w, b))
            except RuntimeError:  # such as for a count of channels that no fused kernel takes
                row[name] = math.nan
        rows.append(row | {"floor ms": floor, "x": row["fused ms"] / floor})
    return rows


def _plain_conv_relu(features: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.conv2d(features, weight, bias, padding=weight.shape[2] // 2).relu()


def networks(bench: Bench) -> list[Row]:
    """The network alone at the first size, ms per image; with cudnn.benchmark, cuDNN tries its kernels."""
    dtype = torch.float16 if bench.on_gpu else torch.float32
    plain = CHECKPOINT.network().to(bench.device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fused = FusedNetwork(plain) if bench.on_gpu else FusedNetwork(plain, _plain_conv_relu)

    def measured(name: str, network: Network, tries: bool) -> Row:
        row: Row = {"network": name, "cudnn.benchmark": tries}
        with torch.backends.cudnn.flags(True, tries):
            for batch in (1, 8):
                images = torch.rand(batch, 1, *bench.sizes[0], device=bench.device, dtype=dtype)
                images = images.to(memory_format=torch.channels_last)
                row[f"batch {batch}"] = bench.milliseconds(lambda i=images: network(i), 10) / batch
        return row

    rows = []
    for tries in (False, True):
        for name, network in (("plain", plain), ("fused", fused)):
            with ThreadPoolExecutor(1) as thread:  # each has its own cuDNN plans; the flag changes none that are there
                rows.append(thread.submit(measured, name, network, tries).result())
    return rows


def compiled(bench: Bench) -> list[Row]:
    """The plain network compiled by TorchInductor, ms per image, for comparison with the table of networks."""
    if not bench.on_gpu:
        return [{"what": "only on a GPU"}]
    height, width = bench.sizes[0]
    plain = CHECKPOINT.network().to(bench.device, torch.float16).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.rand(1, 1, height, width, device=bench.device, dtype=torch.float16)
    started = time.perf_counter()
    with torch.inference_mode():
        network = torch.compile(plain)
        network(images)
    bench.synchronise()
    seconds = time.perf_counter() - started
    return [{"ms": bench.milliseconds(lambda: network(images)), "seconds to compile": seconds}]
