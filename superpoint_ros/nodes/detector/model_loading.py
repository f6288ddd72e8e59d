"""From parameters to a loaded model, with every failure as one sentence."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from .parameters import DetectorParameters

if TYPE_CHECKING:
    from superpoint_ros.superpoint import SuperPointExtractor


def load_extractor(parameters: DetectorParameters) -> SuperPointExtractor:
    """Load the weights onto the device that the parameters name.

    Raises
    ------
    ValueError
        If PyTorch is missing, the weights cannot be read, or device and precision do not go together.
    """
    try:
        from superpoint_ros.superpoint import SuperPointExtractor
    except ImportError as error:
        raise ValueError(
            f"{error.name or error} cannot be imported; PyTorch is needed: the README says how to install it"
        ) from error
    try:
        return SuperPointExtractor.from_pretrained(
            parameters.weights,
            device=parameters.device,
            backend=parameters.backend,
            precision=parameters.precision,
            threads=parameters.threads,
            # Among others an image may come out different in the last bit.
            max_batch_size=1 if parameters.frame_policy == "all" else parameters.max_batch_size,
            **asdict(parameters.detection_options()),
        )
    except (ValueError, OSError, RuntimeError) as error:  # RuntimeError is CUDA's
        raise ValueError(" ".join(str(error).split())) from error
