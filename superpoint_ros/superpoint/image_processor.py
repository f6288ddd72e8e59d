"""Counterparts of transformers' SuperPoint image processors: same options, same pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .checkpoints import load_checkpoint
from .compatibility import Compatibility
from .config import PreprocessorConfig, require_choice
from .model import SuperPointOutput
from .preprocessing import from_pillow

Pixels = NDArray[Any]

_GRAYSCALE_WEIGHTS = (0.2989, 0.5870, 0.1140)  # those of transformers, which do not add up to one
_FORMATS = ("channels_first", "channels_last")


class ImageBatch(dict[str, Any]):
    """What a processor returns, for ``model(**batch)``: ``pixel_values`` by key or as an attribute."""

    @property
    def pixel_values(self) -> Any:
        """A list of arrays, or one array or tensor, as asked for."""
        return self["pixel_values"]

    def to(self, *arguments: Any, **options: Any) -> ImageBatch:
        """Convert the tensor in place and return the batch; the arguments are those of ``Tensor.to``."""
        self["pixel_values"] = self.pixel_values.to(*arguments, **options)
        return self


class SuperPointImageProcessor:
    """Prepares images for `SuperPointForKeypointDetection` and scales its output back to them.

    Images are resized with Pillow on uint8 values, rescaled in float64 and rounded to float32, then
    reduced to luminance.

    Parameters
    ----------
    config : PreprocessorConfig, optional
    compatibility : {None, "transformers"}
        "transformers" truncates absolute coordinates to integers in `post_process_keypoint_detection`;
        must be that of the model.
    **options
        Fields of `PreprocessorConfig` that differ from `config`.
    """

    def __init__(
        self, config: PreprocessorConfig | None = None, compatibility: Compatibility = None, **options: Any
    ) -> None:
        self.config = _override(PreprocessorConfig() if config is None else config, options)
        self.compatibility = compatibility

    @classmethod
    def from_pretrained(cls, weights: str | Path, compatibility: Compatibility = None) -> SuperPointImageProcessor:
        """Return the processor that belongs to `weights`, see `load_checkpoint`."""
        return cls(load_checkpoint(weights).preprocessor, compatibility)

    def __call__(self, images: Any, **options: Any) -> ImageBatch:
        """See `preprocess`."""
        return self.preprocess(images, **options)

    def preprocess(
        self,
        images: Any,
        return_tensors: str | None = None,
        data_format: str | None = "channels_first",
        input_data_format: str | None = None,
        **options: Any,
    ) -> ImageBatch:
        """Resize, rescale and reduce images to luminance, as configured.

        Parameters
        ----------
        images : image or sequence of images
            Pillow images, arrays or tensors of shape (H, W, C) or (C, H, W) with C = 1 or 3, or (H, W);
            values 0 to 255, or anything if neither resized nor rescaled.
        return_tensors : {None, "np", "pt"}
            None gives a list of arrays, the others one array or tensor of the whole batch.
        data_format : {"channels_first", "channels_last", None}
            Layout of the result; None keeps that of the input.
        input_data_format : {None, "channels_first", "channels_last", "none"}
            Layout of arrays and tensors; by default found from which end has 1 or 3 channels.
        **options
            Fields of `PreprocessorConfig` that differ for this call.

        Returns
        -------
        ImageBatch
            Its ``pixel_values`` are the images.

        Raises
        ------
        ValueError
            If an option is unknown or out of range, or an image has another form.
        """
        config = _override(self.config, options)
        require_choice("return_tensors", return_tensors, (None, "np", "pt"))
        require_choice("data_format", data_format, (*_FORMATS, None))
        require_choice("input_data_format", input_data_format, (*_FORMATS, "none", None))
        prepared = []
        for image in _as_list(images):
            pixels, layout = _channels_last_pixels(image, input_data_format)
            pixels = self._prepare(pixels, config)
            first = (data_format or layout) == "channels_first"
            prepared.append(np.ascontiguousarray(pixels.transpose(2, 0, 1) if first else pixels))
        if return_tensors is None:
            return ImageBatch(pixel_values=prepared)
        try:
            batch = np.stack(prepared)
        except ValueError:
            sizes = sorted({image.shape for image in prepared})
            raise ValueError(
                f"images of one batch must have equal shapes, got {sizes}: resize them, or make grey ones RGB"
            ) from None
        return ImageBatch(pixel_values=torch.from_numpy(batch) if return_tensors == "pt" else batch)

    def resize(
        self,
        image: Pixels,
        size: dict[str, int] | tuple[int, int],
        data_format: str | None = None,
        input_data_format: str | None = None,
    ) -> Pixels:
        """Resize an image to `size`, (height, width), with the configured filter; formats as in `preprocess`."""
        require_choice("data_format", data_format, (*_FORMATS, None))
        pixels, layout = _channels_last_pixels(image, input_data_format)
        resized = self._resize(pixels, _override(self.config, {"size": size}))
        return resized.transpose(2, 0, 1) if (data_format or layout) == "channels_first" else resized

    def post_process_keypoint_detection(
        self, outputs: SuperPointOutput, target_sizes: Tensor | Sequence[tuple[int, int]]
    ) -> list[dict[str, Tensor]]:
        """Part the padded output by image and scale keypoints to the original images.

        Parameters
        ----------
        outputs : SuperPointOutput
        target_sizes : Tensor, (B, 2), or sequence of (height, width)
            Of the original images, in pixels.

        Returns
        -------
        list of dict
            ``keypoints`` (N, 2) in pixels, ``scores`` (N,) and ``descriptors`` (N, D) of each image.
        """
        sizes = torch.as_tensor(target_sizes, device=outputs.mask.device)
        if sizes.shape != (len(outputs.mask), 2):
            raise ValueError(
                f"target_sizes must hold (height, width) for each of the {len(outputs.mask)} images, "
                f"got shape {tuple(sizes.shape)}"
            )
        keypoints = outputs.keypoints * sizes.flip(1)[:, None]
        keypoints = keypoints.to(torch.int32) if self.compatibility == "transformers" else keypoints - 0.5
        return [
            {
                "keypoints": keypoints[index, mask],
                "scores": outputs.scores[index, mask],
                "descriptors": descriptors[mask],
            }
            for index, (mask, descriptors) in enumerate(zip(outputs.mask.bool(), outputs.descriptors))
        ]

    def _prepare(self, pixels: Pixels, config: PreprocessorConfig) -> Pixels:
        if config.do_resize:
            pixels = self._resize(pixels, config)
        if config.do_rescale:
            pixels = _rescale(pixels, config.rescale_factor)
        return _grayscale(pixels) if config.do_grayscale else pixels

    def _resize(self, pixels: Pixels, config: PreprocessorConfig) -> Pixels:
        is_fraction = _holds_fractions(pixels)
        if is_fraction:
            pixels = _rescale(pixels, 255)
        squeezed = pixels[:, :, 0] if pixels.shape[2] == 1 else pixels
        picture = PIL.Image.fromarray(squeezed.astype(np.uint8))
        resized = np.array(picture.resize(config.size[::-1], resample=PIL.Image.Resampling(config.resample)))
        resized = resized if resized.ndim == 3 else resized[:, :, None]
        return _rescale(resized, 1 / 255) if is_fraction else resized


class SuperPointImageProcessorFast(SuperPointImageProcessor):
    """Counterpart of transformers' fast processor: luminance first, then resized and rescaled by torch.

    Differs from `SuperPointImageProcessor` by up to three grey levels. Pillow's filters "bilinear"
    and "bicubic" are available.
    """

    def _prepare(self, pixels: Pixels, config: PreprocessorConfig) -> Pixels:
        image = torch.from_numpy(np.require(pixels.transpose(2, 0, 1), requirements=["C", "W"]))
        if config.do_grayscale and len(image) == 3 and not bool((image == image[:1]).all()):
            red, green, blue = (channel.float() * weight for channel, weight in zip(image, _GRAYSCALE_WEIGHTS))
            image = (red + green + blue).to(image.dtype).expand(3, -1, -1)
        if config.do_resize:
            mode = {2: "bilinear", 3: "bicubic"}.get(config.resample)
            if mode is None:
                raise ValueError(f"resample must be 2 (bilinear) or 3 (bicubic) here, got {config.resample}")
            image = functional.interpolate(image[None], config.size, mode=mode, antialias=True)[0]
        if config.do_rescale:
            image = image * config.rescale_factor
        return image.permute(1, 2, 0).numpy()


def _override(config: PreprocessorConfig, options: dict[str, Any]) -> PreprocessorConfig:
    given = {name: value for name, value in options.items() if value is not None}
    if isinstance(given.get("size"), dict):
        given["size"] = (given["size"].get("height"), given["size"].get("width"))
    unknown = set(given) - set(PreprocessorConfig.__dataclass_fields__)
    if unknown:
        raise ValueError(
            f"unknown option {min(unknown)!r}; there are {', '.join(PreprocessorConfig.__dataclass_fields__)}"
        )
    return replace(config, **given)


def _as_list(images: Any) -> list[Any]:
    if isinstance(images, (list, tuple)):
        return list(images)
    if isinstance(images, (np.ndarray, Tensor)) and images.ndim == 4:
        return list(images)
    return [images]


def _channels_last_pixels(image: Any, layout: str | None) -> tuple[Pixels, str]:
    """Return an image as an (H, W, C) array, and the layout it had."""
    if isinstance(image, PIL.Image.Image):
        image, layout = from_pillow(image), None
    elif isinstance(image, Tensor):
        image = image.detach().cpu().numpy()
    if not isinstance(image, np.ndarray):
        raise ValueError(f"an image must be a Pillow image, an array or a tensor, got {type(image).__name__}")
    if image.ndim == 2 and layout in (None, "none"):
        return image[:, :, None], "channels_last"
    if image.ndim == 3 and layout is None:
        layout = next(
            (name for axis, name in ((0, _FORMATS[0]), (2, _FORMATS[1])) if image.shape[axis] in (1, 3)), None
        )
    channels_axis = {"channels_first": 0, "channels_last": 2}.get(layout or "")
    if image.ndim != 3 or channels_axis is None or image.shape[channels_axis] not in (1, 3):
        raise ValueError(f"an image must have shape (H, W, C) or (C, H, W) with C = 1 or 3, got {image.shape}")
    assert layout is not None
    return (image.transpose(1, 2, 0) if channels_axis == 0 else image), layout


def _holds_fractions(pixels: Pixels) -> bool:
    """Tell whether values are fractions in [0, 1] rather than whole numbers in [0, 255], which Pillow needs."""
    if pixels.dtype == np.uint8:
        return False
    low, high = pixels.min(), pixels.max()
    is_whole = bool(np.allclose(pixels, np.trunc(pixels)))
    if not (low >= 0 and high <= (255 if is_whole else 1)):
        raise ValueError(f"image values must be whole in [0, 255] or fractions in [0, 1], got [{low}, {high}]")
    return not is_whole


def _rescale(pixels: Pixels, factor: float) -> Pixels:
    return (pixels.astype(np.float64) * factor).astype(np.float32)


def _grayscale(pixels: Pixels) -> Pixels:
    """Return luminance in three equal channels; an image without colour is returned as it is."""
    if pixels.shape[2] == 1 or bool((pixels == pixels[:, :, :1]).all()):
        return pixels
    red, green, blue = (pixels[:, :, channel] * weight for channel, weight in enumerate(_GRAYSCALE_WEIGHTS))
    return np.stack([red + green + blue] * 3, axis=2)
