"""The configuration of a training run, as dataclasses that mirror the YAML files of ``config/training``."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..superpoint.config import SuperPointConfig
from .dataset import PairOptions


@dataclass(frozen=True)
class Phase:
    """Views of (height, width) pixels in batches of `pairs`, until a share of the budget is spent.

    `scale` is the range of magnification of the first view against the crop.
    """

    until: float = 1.0
    height: int = 160
    width: int = 160
    pairs: int = 8
    scale: tuple[float, float] = (0.55, 1.25)


@dataclass(frozen=True)
class LossWeights:
    """Weights of the losses.

    `label_sigma` is the width of the soft labels, `descriptor_radius` the distance from the right
    place from which on other descriptors are negatives, both in pixels. `inverse_temperature` is
    where the learned one of the descriptor loss starts.
    """

    detector: float = 8.0
    localisation: float = 1.0
    reprojection: float = 0.0
    reliability: float = 0.0
    descriptor: float = 1.0
    label_sigma: float = 0.6
    descriptor_radius: float = 8.0
    inverse_temperature: float = 14.3

    def __post_init__(self) -> None:
        if not any(self.by_loss.values()):
            raise ValueError("expected a weight other than 0 for at least one loss")

    @property
    def by_loss(self) -> dict[str, float]:
        """The weights alone, by the names of their losses."""
        names = ("detector", "localisation", "reprojection", "reliability", "descriptor")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True)
class ValidationOptions:
    """When and how to validate: every `minutes`, on `pairs` pairs of (height, width) views."""

    minutes: float = 10.0
    pairs: int = 60
    height: int = 240
    width: int = 320
    threshold: float = 0.01
    seed: int = 1


@dataclass(frozen=True)
class ReleasedWeights:
    """Weights that exist already: a folder as `export` writes it, and the SHA-256 of its ``model.safetensors``.

    Without a folder there are none: training starts from random weights, and without a teacher.
    """

    folder: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class TrainingConfig:
    """Everything that makes a training run what it is; read from YAML.

    With `synthetic_size` (height, width) the images are MagicPoint's synthetic shapes instead of
    `crops` with `labels`. The budget is `steps` or, if that is 0, `minutes` of running time, in which
    validation counts and interruptions do not. The learning rate falls as a cosine over the budget, or,
    with `decay_steps`, is constant and then falls linearly over the last so many steps: until then,
    `steps` may be lowered, and the run goes on as if it had been planned so.

    `average` is the decay per step of the moving average of the weights that is validated and
    exported; 0: the weights themselves. With a `teacher` the network learns to give the teacher's
    output on the same views instead of labels and correspondences.
    """

    name: str
    seed: int = 0
    crops: str = "data/crops_train.npy"
    labels: str = "data/labels_train.npy"
    synthetic_size: tuple[int, ...] = ()
    validation_crops: str = "data/crops_validation.npy"
    steps: int = 0
    minutes: float = 90.0
    decay_steps: int = 0
    average: float = 0.0
    init: ReleasedWeights = ReleasedWeights()
    teacher: ReleasedWeights = ReleasedWeights()
    lr: float = 3e-3
    muon_lr: float = 0.0
    weight_decay: float = 0.01
    warmup_steps: int = 100
    clip: float = 5.0
    dustbin_bias: float = 5.0
    phases: tuple[Phase, ...] = (Phase(),)
    pairs: PairOptions = field(default_factory=PairOptions)
    loss: LossWeights = LossWeights()
    validation: ValidationOptions = ValidationOptions()
    network: SuperPointConfig = field(
        default_factory=lambda: SuperPointConfig(batch_norm="before_relu", descriptor_grid="cell_centers")
    )

    def __post_init__(self) -> None:
        if not self.phases:
            raise ValueError("phases: expected at least one, got none")
        if self.steps < 0 or (self.steps == 0 and not self.minutes > 0):
            raise ValueError(f"expected steps above 0, or minutes above 0, got {self.steps} and {self.minutes}")
        if self.decay_steps and not self.steps:
            raise ValueError(f"decay_steps: {self.decay_steps} are counted back from the end of steps, which are 0")
