import pytest
import torch

from detectors.precision import CPU_UNITS, resolve_precision

CPU = torch.device("cpu")


def test_a_named_precision_is_what_one_gets() -> None:
    assert resolve_precision("float32", CPU) == torch.float32
    assert resolve_precision("bfloat16", CPU) == torch.bfloat16


def test_auto_follows_the_units_of_the_cpu() -> None:
    has_units = any(torch.cpu.get_capabilities().get(unit) for unit in CPU_UNITS)
    assert resolve_precision("auto", CPU) == (torch.bfloat16 if has_units else torch.float32)


def test_auto_is_float32_on_a_device_nobody_measured() -> None:
    assert resolve_precision("auto", torch.device("meta")) == torch.float32


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="precision is 'half', expected one of auto, float32, bfloat16"):
        resolve_precision("half", CPU)  # type: ignore[arg-type]
