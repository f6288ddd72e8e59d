"""The configuration of ``prepare-data``, as dataclasses that mirror ``config/training/data.yaml``."""

from __future__ import annotations

from dataclasses import dataclass

from .labels import AdaptationOptions
from .licences import LicenceClass
from .pictures import CropOptions
from .sources import Source


@dataclass(frozen=True)
class SplitCrops:
    """How the pictures of each split are cut."""

    train: CropOptions
    validation: CropOptions


@dataclass(frozen=True, kw_only=True)
class LabelOptions(AdaptationOptions):
    """How the training crops are labelled; the scores of a network have a floor of their own, `network_floor`."""

    seed: int
    network_floor: float = 0.005


@dataclass(frozen=True)
class DataConfig:
    """Everything that makes the training data what they are; read from YAML."""

    seed: int
    licence_classes: tuple[LicenceClass, ...]
    crops: SplitCrops
    labels: LabelOptions
    sources: tuple[Source, ...]
