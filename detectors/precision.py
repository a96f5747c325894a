"""The one decision in which number format a model runs."""

from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16", "float16"]

CPU_UNITS = ("amx_bf16", "avx512_bf16", "sve_bf16", "bf16")
"""Names, on x86 and ARM, of CPU units that multiply bfloat16 in hardware; without one it is slower than float32."""


def resolve_precision(name: Precision, device: torch.device) -> torch.dtype:
    """Return the dtype to run in; `auto` is bfloat16 where the device has units for it, else float32."""
    match name:
        case "float32":
            return torch.float32
        case "bfloat16":
            return torch.bfloat16
        case "float16":
            return torch.float16
        case "auto":
            return torch.bfloat16 if _has_bfloat16_units(device) else torch.float32
    raise ValueError(f"precision is {name!r}, expected one of auto, float32, bfloat16, float16")


def refuse_on_cpu(precision: Precision) -> None:
    """Raise ValueError for a format in which a CPU does not run; a GPU before bfloat16, such as a V100 or T4, does."""
    if precision == "float16":
        raise ValueError("precision is 'float16' on a CPU, expected bfloat16 or float32; float16 is for GPUs")


def keep_float32_exact(precision: Precision) -> None:
    """A GPU that was asked for float32 multiplies in it; by default convolutions would be rounded to TF32."""
    if precision == "float32":
        torch.backends.cudnn.allow_tf32 = False  # matrix products are exact unless somebody asks for less


def _has_bfloat16_units(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(unit, False) for unit in CPU_UNITS)
    return False
