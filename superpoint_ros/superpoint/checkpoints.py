"""Reading and writing SuperPoint weights; nothing here executes code that a file contains."""

from __future__ import annotations

import hashlib
import json
import pickle
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import safetensors.torch
import torch
from torch import Tensor, nn

from .config import PreprocessorConfig, SuperPointConfig
from .files import replacing
from .network import SuperPointNetwork, fold_batch_norm
from .state_dicts import StateDict, find_mismatch, recognise

_FOLDER = Path(__file__).parent / "weights"
BUNDLED_WEIGHTS = {"default": _FOLDER, "small": _FOLDER / "small"}
UNDERSTOOD = (
    "understood are 'default' and 'small' (the bundled weights), 'random', a Hugging Face folder with config.json and "
    "model.safetensors, Magic Leap's superpoint_v1.pth, rpautrat's superpoint_v6_from_tf.pth, "
    "and a Hugging Face model id such as 'owner/name'"
)
_CONFIG, _PREPROCESSOR, _WEIGHTS = "config.json", "preprocessor_config.json", "model.safetensors"
_HASH_LENGTH = 8

_Config = TypeVar("_Config", SuperPointConfig, PreprocessorConfig)


class CheckpointError(ValueError):
    """Weights that cannot be used: the message names the file, what is wrong first, and what is understood."""

    def __init__(self, source: str | Path, reason: str) -> None:
        super().__init__(f"{source}: {reason}; {UNDERSTOOD}")


@dataclass(frozen=True)
class Checkpoint:
    """Weights with everything needed to use them.

    Attributes
    ----------
    name : str
        Where the weights come from and a hash of their values and `descriptor_grid`, ``name@1a2b3c4d``: descriptors of
        models with different names must not be matched.
    config : SuperPointConfig
    preprocessor : PreprocessorConfig
    state : dict of Tensor
        Float32 on the CPU, complete and finite, in `SuperPointNetwork`'s names.
    """

    name: str
    config: SuperPointConfig
    preprocessor: PreprocessorConfig
    state: StateDict

    def network(self) -> SuperPointNetwork:
        """Return a new network with these weights, in eval mode."""
        network = SuperPointNetwork(self.config)
        network.load_state_dict(self.state, strict=False)  # checked; only batch counters may be absent
        return network.eval()


def load_checkpoint(source: str | Path) -> Checkpoint:
    """Read weights.

    Parameters
    ----------
    source : str or Path
        ``"default"`` and ``"small"``: the bundled weights, the latter of a quarter of the arithmetic.
        ``"random"``: always the same random weights, for tests and plumbing. A Hugging Face folder,
        ``superpoint_v1.pth``, ``superpoint_v6_from_tf.pth``, or a Hugging Face model id, which
        `huggingface_hub` downloads where it is installed.

    Raises
    ------
    CheckpointError
        If there is no such file, or it does not hold SuperPoint weights.
    """
    if isinstance(source, str) and source in BUNDLED_WEIGHTS:
        folder = BUNDLED_WEIGHTS[source]
        if not (folder / _WEIGHTS).is_file():
            raise CheckpointError(folder, f"this installation lacks the bundled weights '{source}'")
        return _load_folder(folder, f"superpoint_ros/{source}")
    if source == "random":
        return random_checkpoint()
    path = Path(source)
    if str(source).startswith("~"):
        path = _expand_user(path)
    if path.is_dir():
        return _load_folder(path, path.resolve().name)
    if path.is_file() and path.suffix == ".safetensors":  # useless without the configuration beside it
        if path.name != _WEIGHTS:
            raise CheckpointError(path, f"a .safetensors file must be called {_WEIGHTS} and lie beside {_CONFIG}")
        return _load_folder(path.parent, path.resolve().parent.name)
    if path.is_file():
        return _load_file(path)
    if _is_model_id(str(source)):
        return _load_folder(_download(str(source)), str(source))
    raise CheckpointError(source, "no such file or folder")


def random_checkpoint(config: SuperPointConfig | None = None, seed: int = 0) -> Checkpoint:
    """Return untrained weights that are the same for the same seed.

    They are scaled so that feature maps keep their variance and score maps are not flat (He et al.
    2015); what they detect means nothing.
    """
    config = config or SuperPointConfig(keypoint_threshold=0.015, max_keypoints=1024, descriptor_grid="cell_centers")
    network = SuperPointNetwork(config)
    generator = torch.Generator().manual_seed(seed)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            fan_in = module.weight[0].numel()
            gain = 2.0 if module.in_channels > 1 else 8.0
            nn.init.normal_(module.weight, std=(gain / fan_in) ** 0.5, generator=generator)
    return _checked("superpoint_ros/random", "random", config, PreprocessorConfig(), network.state_dict())


def save_pretrained(folder: str | Path, checkpoint: Checkpoint) -> None:
    """Write a Hugging Face folder that this package and transformers load.

    Batch normalisation of the "before_relu" kind is folded into the convolutions. Files are replaced
    whole, or not at all.

    Raises
    ------
    ValueError
        If the network has batch normalisation behind the ReLU, for which transformers has no layout.
    OSError
        If the folder cannot be written.
    """
    network = fold_batch_norm(checkpoint.network()) if checkpoint.config.batch_norm != "none" else checkpoint.network()
    config = asdict(network.config)
    del config["batch_norm"]
    model = {"architectures": ["SuperPointForKeypointDetection"], "model_type": "superpoint", **config}
    preprocessor = asdict(checkpoint.preprocessor)
    preprocessor["size"] = dict(zip(("height", "width"), checkpoint.preprocessor.size))
    preprocessor["image_processor_type"] = "SuperPointImageProcessor"
    state = {name: value.contiguous() for name, value in network.state_dict().items()}

    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    contents = {
        _WEIGHTS: safetensors.torch.save(state, metadata={"format": "pt"}),
        _CONFIG: _json_bytes(model),
        _PREPROCESSOR: _json_bytes(preprocessor),
    }
    for name, content in contents.items():
        with replacing(folder / name) as partial:
            partial.write_bytes(content)


def _load_folder(folder: Path, name: str) -> Checkpoint:
    for required in (_CONFIG, _WEIGHTS):
        if not (folder / required).is_file():
            raise CheckpointError(folder, f"the folder has no {required}")
    config = _read_config(folder / _CONFIG, SuperPointConfig)
    preprocessor = PreprocessorConfig()
    if (folder / _PREPROCESSOR).is_file():
        preprocessor = _read_config(folder / _PREPROCESSOR, PreprocessorConfig)
    weights = folder / _WEIGHTS
    return _checked(name, weights, config, preprocessor, _read(weights, safetensors.torch.load_file))


def _load_file(path: Path) -> Checkpoint:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickles that are refused anyway
        state = _read(path, lambda file: torch.load(file, map_location="cpu", weights_only=True))
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(path, "does not hold a state dict of tensors")
    recognised = recognise(state)
    if recognised is None:
        first = next(iter(state), None)
        raise CheckpointError(path, f"holds no SuperPoint weights (its first key is {first!r})")
    config, renamed = recognised
    return _checked(path.stem, path, config, PreprocessorConfig(), renamed)


def _read(path: Path, reader: Callable[[Path], Any]) -> Any:
    try:
        return reader(path)
    except pickle.UnpicklingError as error:  # whose text recommends to execute what is in the file
        raise CheckpointError(
            path, "cannot be read as weights (damaged, or holds other things than tensors)"
        ) from error
    except Exception as error:  # a damaged or malicious file can make the readers raise anything
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CheckpointError(path, f"cannot be read as weights ({reason})") from error


def _read_config(path: Path, kind: type[_Config]) -> _Config:
    """Read the fields of `kind` from a JSON file that may hold others too."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(path, f"cannot be read as JSON ({error})") from error
    except RecursionError as error:
        raise CheckpointError(path, "cannot be read as JSON (too deeply nested)") from error
    if not isinstance(content, dict):
        raise CheckpointError(path, f"must hold a JSON object, got {type(content).__name__}")
    values = {field.name: content[field.name] for field in fields(kind) if field.name in content}
    if isinstance(values.get("size"), dict):
        values["size"] = (values["size"].get("height"), values["size"].get("width"))
    try:
        return kind(**values)
    except (TypeError, ValueError) as error:
        raise CheckpointError(path, str(error)) from error


def _checked(
    name: str,
    source: str | Path,
    config: SuperPointConfig,
    preprocessor: PreprocessorConfig,
    state: Mapping[str, Tensor],
) -> Checkpoint:
    mismatch = find_mismatch(state, config)
    if mismatch:
        raise CheckpointError(source, mismatch)
    state = {key: value.float().contiguous() for key, value in state.items() if not key.endswith("num_batches_tracked")}
    digest = hashlib.sha256(config.descriptor_grid.encode())
    for key in sorted(state):
        digest.update(key.encode() + state[key].numpy().tobytes())
    return Checkpoint(f"{name}@{digest.hexdigest()[:_HASH_LENGTH]}", config, preprocessor, state)


def _expand_user(path: Path) -> Path:
    try:
        return path.expanduser()
    except RuntimeError as error:  # no such user
        raise CheckpointError(path, str(error)) from error


def _is_model_id(source: str) -> bool:
    if source.endswith((".pth", ".pt", ".bin", ".safetensors")):
        return False
    owner, _, name = source.partition("/")
    return all(part and part.replace("-", "").replace("_", "").replace(".", "").isalnum() for part in (owner, name))


def _download(model_id: str) -> Path:
    remedy = f"download its {_CONFIG} and {_WEIGHTS} by hand and give their folder"
    absent = "no such file or folder; if it is a Hugging Face model"
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise CheckpointError(model_id, f"{absent}, pip install huggingface_hub, or {remedy}") from None
    try:
        return Path(snapshot_download(model_id, allow_patterns=[_CONFIG, _PREPROCESSOR, _WEIGHTS]))
    except Exception as error:  # the hub's, the network's and the cache's errors have no common base
        raise CheckpointError(model_id, f"{absent} ({type(error).__name__} on download), {remedy}") from error


def _json_bytes(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, sort_keys=True) + "\n").encode()
