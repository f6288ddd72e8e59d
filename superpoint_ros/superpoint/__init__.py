"""SuperPoint (DeTone et al. 2018) as a library: no ROS needed."""

from .backends import DeviceError
from .checkpoints import Checkpoint, CheckpointError, load_checkpoint, save_pretrained
from .config import PreprocessorConfig, SuperPointConfig
from .extractor import SuperPointExtractor
from .features import Features
from .image_processor import SuperPointImageProcessor, SuperPointImageProcessorFast
from .model import SuperPointForKeypointDetection, SuperPointOutput
from .network import NetworkOutput, SuperPointNetwork
from .options import DetectionOptions

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "DetectionOptions",
    "DeviceError",
    "Features",
    "NetworkOutput",
    "PreprocessorConfig",
    "SuperPointConfig",
    "SuperPointExtractor",
    "SuperPointForKeypointDetection",
    "SuperPointImageProcessor",
    "SuperPointImageProcessorFast",
    "SuperPointNetwork",
    "SuperPointOutput",
    "load_checkpoint",
    "save_pretrained",
]
