"""Counterpart of transformers' ``SuperPointForKeypointDetection``: a batch in, padded keypoints and a mask out."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .checkpoints import Checkpoint, load_checkpoint, save_pretrained
from .compatibility import Compatibility
from .config import CELL_SIZE, PreprocessorConfig, SuperPointConfig
from .decoding import Detections, decode
from .network import SuperPointNetwork
from .options import DetectionOptions
from .preprocessing import pad_to_cells


@dataclass(frozen=True)
class SuperPointOutput:
    """Keypoints of a batch of B images, padded with zeros to N, the largest count among them.

    Attributes
    ----------
    keypoints : Tensor, (B, N, 2), float32
        Relative x, y. (0, 0) is the top-left corner of the image and (1, 1) the bottom-right one; with
        ``compatibility="transformers"`` pixel coordinates divided by width and height.
    scores : Tensor, (B, N), float32
    descriptors : Tensor, (B, N, D), float32
    mask : Tensor, (B, N), bool (int32 with ``compatibility="transformers"``)
        True where there is a keypoint and not padding.
    hidden_states : tuple of Tensor or None
        Output of each encoder block, if asked for.
    loss : None
        There as in transformers, never computed.
    """

    keypoints: Tensor
    scores: Tensor
    descriptors: Tensor
    mask: Tensor
    hidden_states: tuple[Tensor, ...] | None = None
    loss: None = None

    def __getitem__(self, key: int | str) -> Any:
        """Return a field that is not None by its name, or by its place in `to_tuple`."""
        if not isinstance(key, str):
            return self.to_tuple()[key]
        if key not in self:
            raise KeyError(key)
        return getattr(self, key)

    def __contains__(self, name: object) -> bool:
        """Whether there is a field of this name that is not None."""
        return any(field.name == name and getattr(self, field.name) is not None for field in fields(self))

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the fields that are not None in transformers' order."""
        fields = (self.loss, self.keypoints, self.scores, self.descriptors, self.mask, self.hidden_states)
        return tuple(value for value in fields if value is not None)


class SuperPointForKeypointDetection(SuperPointNetwork):
    """The network together with its decoding, as a module of batched tensors.

    Parameters
    ----------
    config : SuperPointConfig, optional
    compatibility : {None, "transformers"}
        "transformers" reproduces that library: keypoints near the right and bottom border stay,
        up to 7 rows and columns past the last multiple of 8 are lost, keypoints are ordered by score
        only where `max_keypoints` cuts some off, and `subpixel` and `descriptor_grid`, which it does
        not know, are "none" and "magicleap".

    Attributes
    ----------
    options : DetectionOptions
        From the configuration; may be replaced. `resize` is not read.
    """

    def __init__(self, config: SuperPointConfig | None = None, compatibility: Compatibility = None) -> None:
        super().__init__(config or SuperPointConfig())
        self.compatibility = compatibility
        self.options = DetectionOptions.from_config(self.config)

    @classmethod
    def from_pretrained(
        cls, weights: str | Path, compatibility: Compatibility = None
    ) -> SuperPointForKeypointDetection:
        """Return the model with `weights` in eval mode; see `load_checkpoint` for what can be read."""
        return cls.from_checkpoint(load_checkpoint(weights), compatibility)

    @classmethod
    def from_checkpoint(
        cls, checkpoint: Checkpoint, compatibility: Compatibility = None
    ) -> SuperPointForKeypointDetection:
        """Return the model with the weights of `checkpoint` in eval mode."""
        model = cls(checkpoint.config, compatibility)
        model.load_state_dict(checkpoint.state, strict=False)  # checked; only batch counters may be absent
        return model.eval()

    @property
    def device(self) -> torch.device:
        """Where the weights are, for ``processor(images, return_tensors="pt").to(model.device)``."""
        return next(self.parameters()).device

    def save_pretrained(self, folder: str | Path, preprocessor: PreprocessorConfig | None = None) -> None:
        """Write a Hugging Face folder, see `save_pretrained` of the checkpoints module."""
        state = {name: value.detach().cpu() for name, value in self.state_dict().items()}
        save_pretrained(folder, Checkpoint("model", self.config, preprocessor or PreprocessorConfig(), state))

    def forward(  # type: ignore[override]
        self,
        pixel_values: Tensor,
        labels: None = None,
        output_hidden_states: bool = False,
        return_dict: bool = True,
    ) -> SuperPointOutput | tuple[Any, ...]:
        """Find keypoints and descriptors.

        Parameters
        ----------
        pixel_values : Tensor, (B, C, H, W), float32
            In [0, 1]; only the first channel is looked at.
        labels : None
            Not supported, as in transformers; see the training package.
        output_hidden_states : bool
            Whether the feature maps of the encoder blocks are returned too.
        return_dict : bool
            Whether a `SuperPointOutput` is returned and not a tuple.

        Raises
        ------
        ValueError
            If `labels` are given, `pixel_values` has another shape, or is smaller than a cell of 8 x 8
            pixels with ``compatibility="transformers"``.
        """
        if labels is not None:
            raise ValueError("labels are not supported: training has its own losses, see superpoint_ros.training")
        if pixel_values.ndim != 4 or min(pixel_values.shape) < 1:
            raise ValueError(f"pixel_values must have shape (B, C, H, W), got {tuple(pixel_values.shape)}")
        height, width = pixel_values.shape[2:]
        images = pixel_values[:, :1]
        like_transformers = self.compatibility == "transformers"
        if like_transformers:
            found, hidden_states = self._detect_like_transformers(images, output_hidden_states)
        else:
            raw = super().forward(pad_to_cells(images), output_hidden_states)
            found = decode(raw, self.options, self.config.descriptor_grid, (height, width))
            hidden_states = raw.hidden_states
        offset = 0.0 if like_transformers else 0.5
        relative = (found.keypoints + offset) / torch.tensor([width, height], device=images.device)
        mask_dtype = torch.int if like_transformers else torch.bool
        output = _pad(found._replace(keypoints=relative), hidden_states if output_hidden_states else None, mask_dtype)
        return output if return_dict else output.to_tuple()

    def _detect_like_transformers(
        self, images: Tensor, output_hidden_states: bool
    ) -> tuple[Detections, tuple[Tensor, ...]]:
        height, width = images.shape[2:]
        if min(height, width) < CELL_SIZE:
            raise ValueError(f"images must have at least {CELL_SIZE} x {CELL_SIZE} pixels, got {height} x {width}")
        raw = super().forward(images, output_hidden_states)
        far_away = (CELL_SIZE * height, CELL_SIZE * width)  # where transformers takes the borders to be
        options = replace(self.options, subpixel="none")
        return decode(raw, options, "magicleap", far_away, row_major=True), raw.hidden_states


def _pad(found: Detections, hidden_states: tuple[Tensor, ...] | None, mask_dtype: torch.dtype) -> SuperPointOutput:
    """Lay flat detections out as one row per image."""
    counts = found.counts
    longest = int(counts.max())
    mask = torch.arange(longest, device=counts.device) < counts[:, None]

    def padded(values: Tensor) -> Tensor:
        rows = values.new_zeros(len(counts), longest, *values.shape[1:])
        rows[mask] = values
        return rows

    return SuperPointOutput(
        padded(found.keypoints), padded(found.scores), padded(found.descriptors), mask.to(mask_dtype), hidden_states
    )
