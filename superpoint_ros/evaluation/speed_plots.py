"""Plots of `benchmark`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from ..superpoint.files import replacing
from .speed import Setting, Timing


def plot_speed(path: Path, timings: Sequence[Timing]) -> None:
    """Draw milliseconds per image over the image size, and per call over the images in it (cameras), one line each."""
    first = timings[0].setting
    by_size = [timing for timing in timings if _differs_only(timing.setting, first, "height", "width")]
    by_batch = [timing for timing in timings if _differs_only(timing.setting, first, "batch")]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5))
    for name in dict.fromkeys(timing.name for timing in timings):
        sizes = sorted((t.setting.height * t.setting.width / 1e6, t.milliseconds) for t in by_size if t.name == name)
        left.plot(*zip(*sizes), marker="o", label=name)
        batches = sorted((t.setting.batch, t.milliseconds * t.setting.batch) for t in by_batch if t.name == name)
        right.plot(*zip(*batches), marker="o")
    left.set(xscale="log", yscale="log", xlabel="megapixels", ylabel="ms per image")
    title = f"{first.height}x{first.width}, {first.max_keypoints} keypoints, {first.threads} threads"
    right.set(yscale="log", xlabel="cameras (images per call)", ylabel="ms for all", title=title)
    left.legend(fontsize=7)
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.tight_layout()
    with replacing(path) as partial:
        figure.savefig(partial, dpi=120)
    plt.close(figure)


def _differs_only(setting: Setting, first: Setting, *names: str) -> bool:
    fields = ("height", "width", "batch", "max_keypoints", "threads")
    return all(getattr(setting, name) == getattr(first, name) for name in fields if name not in names)
