"""Makes sure, without a GPU, that work for one neither asks it for values nor sends it any, and is not rounded by it.

The meta device, which follows shapes and refuses to tell values, is what the host cannot look into, and a CPU tensor
what it would upload.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class OnMetaDevice(TorchDispatchMode):
    """Fails on work with tensors elsewhere than on the meta device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [value for value in tree_leaves((args, kwargs, result)) if isinstance(value, torch.Tensor)]
        assert {tensor.device.type for tensor in tensors} <= {"meta"}, f"{func} sees tensors of the host"
        return result


class WithoutLiterals(TorchFunctionMode):
    """Fails where a tensor is made of Python numbers, which a GPU has uploaded and waits for."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert func not in (torch.tensor, torch.as_tensor, torch.Tensor.new_tensor), f"{func} uploads"
        return func(*args, **(kwargs or {}))


class WithoutMatrixProducts(TorchDispatchMode):
    """Fails on matrix products, which a GPU may be told to compute in TF32."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.overloadpacket.__name__
        is_product = name in ("mm", "bmm", "mv", "addmm", "addmv", "baddbmm", "dot")
        assert not is_product, f"{name} may be rounded to eleven bits"
        return func(*args, **(kwargs or {}))
