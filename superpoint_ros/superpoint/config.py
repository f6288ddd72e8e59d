"""What a SuperPoint checkpoint declares about itself: the model's and the preprocessor's configuration."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Literal, get_args

CELL_SIZE = 8
"""Side of the image patch, in pixels, that one cell of the network's output stands for."""
LONGEST_SIDE = 16384
"""Most pixels that a length in an option may have; no image accepted is longer."""

BatchNorm = Literal["none", "before_relu", "after_relu"]
DescriptorGrid = Literal["cell_centers", "magicleap"]
Subpixel = Literal["none", "quadratic", "soft_argmax"]


@dataclass(frozen=True)
class SuperPointConfig:
    """Architecture and default decoding options of a checkpoint.

    The first nine fields have the names and defaults of transformers' ``SuperPointConfig``, so that
    one ``config.json`` serves both libraries.

    Parameters
    ----------
    encoder_hidden_sizes : tuple of int
        Channels of the four encoder blocks; the first three blocks halve the resolution.
    decoder_hidden_size : int
        Channels between the two convolutions of each head.
    keypoint_decoder_dim : int
        Always 65: the 8 x 8 pixels of a cell and one "no keypoint" bin.
    descriptor_decoder_dim : int
        Length of a descriptor.
    keypoint_threshold : float
        Only pixels that score above this value, in [0, 1), become keypoints.
    max_keypoints : int
        Keypoints kept per image, best first; -1 keeps all.
    nms_radius : int
        Radius of non-maximum suppression in pixels; 0 switches it off.
    border_removal_distance : int
        Keypoints closer than this many pixels to the image border are dropped.
    initializer_range : float
        Standard deviation of freshly initialised weights.
    batch_norm : {"none", "before_relu", "after_relu"}
        Where batch normalisation sits. "before_relu" is used in training only and folds into the
        convolutions; "after_relu" is the layout of rpautrat's ``superpoint_v6_from_tf.pth``.
    descriptor_grid : {"magicleap", "cell_centers"}
        How pixels map to the coarse descriptor map. "cell_centers" is x -> (x + 0.5) / 8 - 0.5.
        "magicleap" is the map that Magic Leap's weights are used with, which drifts by up to 3.5 px
        across the image; it is the default because a ``config.json`` of other origin does not say.
    subpixel : {"none", "quadratic", "soft_argmax"}
        Recommended sub-pixel method, see `DetectionOptions`.

    Raises
    ------
    ValueError
        If a value is out of range; the message names the field.
    """

    encoder_hidden_sizes: tuple[int, ...] = (64, 64, 128, 128)
    decoder_hidden_size: int = 256
    keypoint_decoder_dim: int = 65
    descriptor_decoder_dim: int = 256
    keypoint_threshold: float = 0.005
    max_keypoints: int = -1
    nms_radius: int = 4
    border_removal_distance: int = 4
    initializer_range: float = 0.02
    batch_norm: BatchNorm = "none"
    descriptor_grid: DescriptorGrid = "magicleap"
    subpixel: Subpixel = "none"

    def __post_init__(self) -> None:
        if not isinstance(self.encoder_hidden_sizes, (tuple, list)) or len(self.encoder_hidden_sizes) != 4:
            raise ValueError(
                "encoder_hidden_sizes must hold four channel counts (three poolings make 8-pixel cells), "
                f"got {self.encoder_hidden_sizes!r}"
            )
        set_fields(
            self,
            encoder_hidden_sizes=tuple(_require_width("encoder_hidden_sizes", n) for n in self.encoder_hidden_sizes),
            decoder_hidden_size=_require_width("decoder_hidden_size", self.decoder_hidden_size),
            descriptor_decoder_dim=_require_width("descriptor_decoder_dim", self.descriptor_decoder_dim),
            keypoint_threshold=require_number("keypoint_threshold", self.keypoint_threshold, minimum=0.0, below=1.0),
            max_keypoints=require_int("max_keypoints", self.max_keypoints, minimum=-1),
            nms_radius=require_int("nms_radius", self.nms_radius, minimum=0, maximum=LONGEST_SIDE),
            border_removal_distance=require_int("border_removal_distance", self.border_removal_distance, minimum=0),
            initializer_range=require_number("initializer_range", self.initializer_range, minimum=0.0),
        )
        if self.keypoint_decoder_dim != CELL_SIZE**2 + 1:
            raise ValueError(f"keypoint_decoder_dim must be 65 (8 x 8 pixels + 1), got {self.keypoint_decoder_dim!r}")
        require_choice("batch_norm", self.batch_norm, get_args(BatchNorm))
        require_choice("descriptor_grid", self.descriptor_grid, get_args(DescriptorGrid))
        require_choice("subpixel", self.subpixel, get_args(Subpixel))


@dataclass(frozen=True)
class PreprocessorConfig:
    """Image preparation of transformers' ``SuperPointImageProcessor``, same names and defaults.

    Parameters
    ----------
    do_resize : bool
        Whether images are resized to ``size``, without keeping the aspect ratio.
    size : tuple of int
        (height, width) in pixels.
    resample : int
        PIL resampling filter, 0 (nearest) to 5 (hamming); 2 is bilinear.
    do_rescale : bool
        Whether pixel values are multiplied by ``rescale_factor``.
    rescale_factor : float
        1/255 maps 8-bit images to [0, 1].
    do_grayscale : bool
        Whether colour is converted to luminance; if not, the network sees the red channel.

    Raises
    ------
    ValueError
        If a value is out of range; the message names the field.
    """

    do_resize: bool = True
    size: tuple[int, int] = (480, 640)
    resample: int = 2
    do_rescale: bool = True
    rescale_factor: float = 1 / 255
    do_grayscale: bool = False

    def __post_init__(self) -> None:
        for name in ("do_resize", "do_rescale", "do_grayscale"):
            if not isinstance(getattr(self, name), bool):
                raise ValueError(f"{name} must be true or false, got {getattr(self, name)!r}")
        if not isinstance(self.size, (tuple, list)) or len(self.size) != 2:
            raise ValueError(f"size must be (height, width), got {self.size!r}")
        set_fields(
            self,
            size=tuple(require_int("size", side, minimum=1) for side in self.size),
            resample=require_int("resample", self.resample, minimum=0),
            rescale_factor=require_number("rescale_factor", self.rescale_factor, minimum=0.0),
        )
        require_choice("resample", self.resample, tuple(range(6)))


def set_fields(instance: object, **values: object) -> None:
    """Set fields of a frozen dataclass, for its ``__post_init__``."""
    for name, value in values.items():
        object.__setattr__(instance, name, value)


def require_int(name: str, value: object, minimum: int, maximum: int = 2**31 - 1) -> int:
    """Return an integer, NumPy's included, as an int; raise ``ValueError`` naming `name` unless it is within bounds."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not minimum <= int(value) <= maximum:
        raise ValueError(f"{name} must be an integer of at least {minimum} and at most {maximum}, got {value!r}")
    return int(value)


def _require_width(name: str, value: object) -> int:
    return require_int(name, value, minimum=1, maximum=2**16)  # channels: 100 times as many as anybody uses


def require_number(name: str, value: object, minimum: float, below: float = float("inf")) -> float:
    """Return a number, NumPy's included, as a float; raise ``ValueError`` naming `name` unless in [minimum, below)."""
    if isinstance(value, bool) or not isinstance(value, Real) or not minimum <= float(value) < below:
        raise ValueError(f"{name} must be a number in [{minimum:g}, {below:g}), got {value!r}")
    return float(value)


def require_choice(name: str, value: object, choices: tuple[object, ...]) -> None:
    """Raise ``ValueError`` naming `name` unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
