"""Where quantised models lie, and that each is used with the weights it was made from only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .checkpoints import BUNDLED_WEIGHTS
from .files import replacing
from .openvino_backend import import_openvino

BUNDLED_MODELS = {name: folder / "int8.xml" for name, folder in BUNDLED_WEIGHTS.items()}
_ORIGIN = ["superpoint_ros", "weights"]


class QuantizedModelError(ValueError):
    """A file that should be a quantised model is none; the message names it and what to do."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"{path}: cannot be read as a quantised model: it or the .bin beside it is damaged, or OpenVINO too old; "
            "run 'python -m superpoint_ros quantize --weights ...' again, or reinstall what came with the package"
        )


def weights_hash(model_name: str) -> str:
    """Return the hash of the weights that the `name` of a `Checkpoint` ends with."""
    return model_name.rpartition("@")[2]


def cached_model(model_name: str) -> Path:
    """Return where the quantised model of the weights `model_name` belongs for the installed version of OpenVINO.

    In ``$SUPERPOINT_ROS_CACHE``, by default ``$XDG_CACHE_HOME/superpoint_ros``, by default ``~/.cache/superpoint_ros``.
    """
    default = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "superpoint_ros"
    folder = Path(os.environ.get("SUPERPOINT_ROS_CACHE") or default).expanduser()
    version = import_openvino().get_version().partition("-")[0]
    return folder / "int8" / f"{weights_hash(model_name)}-openvino-{version}.xml"


def load_quantized(model_name: str) -> Any:
    """Return the `openvino.Model` quantised from the weights `model_name`: the user's own before the bundled ones.

    Raises
    ------
    QuantizedModelError
        If the user's own cannot be read.
    ValueError
        If there is none; the message says how to make it, and which of the bundled ones cannot be read.
    """
    wanted, own = weights_hash(model_name), cached_model(model_name)
    damaged = ""
    for path in (own, *BUNDLED_MODELS.values()):
        try:
            if origin(path) == wanted:
                return import_openvino().Core().read_model(path)
        except QuantizedModelError as error:
            if path == own:
                raise
            damaged += f"; {error}"  # whose it was cannot be told
    raise ValueError(
        f"precision 'int8' needs a quantised model of the weights {model_name}, which "
        f"'python -m superpoint_ros quantize --weights ...' makes, once{damaged}"
    )


def origin(path: Path) -> str | None:
    """Return the hash of the weights that the model at `path` was made from; None if there is no such model.

    Raises
    ------
    QuantizedModelError
        If the file cannot be read.
    """
    if not path.is_file():
        return None
    try:
        model = import_openvino().Core().read_model(path)
        return str(model.get_rt_info(_ORIGIN).astype(str)) if model.has_rt_info(_ORIGIN) else None
    except RuntimeError as error:
        raise QuantizedModelError(path) from error


def save_quantized(model: Any, path: Path, model_name: str) -> None:
    """Write a quantised model as ``path`` (.xml) and the .bin beside it."""
    model.set_rt_info(weights_hash(model_name), _ORIGIN)
    # The weights are moved first: alone they are no model, while a structure without them is a damaged one.
    with replacing(path) as structure, replacing(path.with_suffix(".bin")) as weights:
        import_openvino().serialize(model, structure, weights)
