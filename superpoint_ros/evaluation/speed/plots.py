"""Plots of `benchmark`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from ...superpoint.files import replacing
from .timing import Setting, Timing

_AXES: tuple[tuple[str, Callable[[Setting], float]], ...] = (
    ("megapixels", lambda setting: setting.height * setting.width / 1e6),
    ("cameras (images per call)", lambda setting: setting.batch),
    ("max_keypoints", lambda setting: setting.max_keypoints),
    ("threads", lambda setting: setting.threads),
)


def plot_speed(path: Path, timings: Sequence[Timing]) -> None:
    """Draw milliseconds per call, one panel for each option that varies, one line for each contestant."""
    base = timings[0].setting
    varying = [(label, value) for label, value in _AXES if len({value(timing.setting) for timing in timings}) > 1]
    figure, panels = plt.subplots(1, len(varying), figsize=(5.5 * len(varying), 5), squeeze=False)
    for axes, (label, value) in zip(panels[0], varying):
        others = [other for _, other in _AXES if other is not value]
        shown = [timing for timing in timings if all(other(timing.setting) == other(base) for other in others)]
        for name in dict.fromkeys(timing.name for timing in shown):
            points = sorted((value(t.setting), t.milliseconds * t.setting.batch) for t in shown if t.name == name)
            axes.plot(*zip(*points), marker="o", label=name)
        ticks = sorted({value(timing.setting) for timing in shown})
        axes.set(xscale="log", yscale="log", xlabel=label, ylabel="ms per call")
        axes.set_xticks(ticks, [f"{tick:.3g}" for tick in ticks])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    panels[0, 0].legend(fontsize=7)
    text = f"{base.height}x{base.width}, {base.batch} image, {base.max_keypoints} keypoints, {base.threads} threads"
    figure.suptitle(f"unless given: {text}", fontsize=9)
    figure.tight_layout()
    with replacing(path) as partial:
        figure.savefig(partial, dpi=110)
    plt.close(figure)
