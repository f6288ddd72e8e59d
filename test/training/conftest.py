"""What the tests of training share."""

import numpy as np
import pytest

from superpoint_ros.evaluation.datasets import photos_of_scikit_image


@pytest.fixture(scope="session")
def photographs() -> np.ndarray:
    """Crops (N, 240, 320) of scikit-image's photographs."""
    return np.stack([photo.load()[-240:, -320:] for photo in photos_of_scikit_image()])
