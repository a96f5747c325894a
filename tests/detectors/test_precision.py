from dataclasses import replace

import pytest
import torch

from detectors.catalog import DetectorRequest, build_detector, describe_detector, settle_precision
from detectors.precision import CPU_UNITS, resolve_precision

CPU = torch.device("cpu")


def test_a_named_precision_is_what_one_gets() -> None:
    assert resolve_precision("float32", CPU) == torch.float32
    assert resolve_precision("bfloat16", CPU) == torch.bfloat16
    assert resolve_precision("float16", torch.device("cuda")) == torch.float16


def test_auto_follows_the_units_of_the_cpu() -> None:
    has_units = any(torch.cpu.get_capabilities().get(unit) for unit in CPU_UNITS)
    assert resolve_precision("auto", CPU) == (torch.bfloat16 if has_units else torch.float32)


def test_auto_is_float32_on_a_device_nobody_measured() -> None:
    assert resolve_precision("auto", torch.device("meta")) == torch.float32


def test_an_unknown_precision_is_refused() -> None:
    with pytest.raises(ValueError, match="precision is 'half', expected one of auto, float32, bfloat16, float16"):
        resolve_precision("half", CPU)  # type: ignore[arg-type]


def test_a_cpu_is_not_asked_for_float16_and_the_driver_of_gpus_describes_it_all_the_same() -> None:
    request = DetectorRequest(name="faster-rcnn", weights="toyworld", precision="float16", device="cpu")
    for refuse in (settle_precision, build_detector):
        with pytest.raises(ValueError, match="precision is 'float16' on a CPU, expected bfloat16 or float32"):
            refuse(request)
    of_gpus = settle_precision(replace(request, device="cuda"))
    assert describe_detector(of_gpus)["precision"] == "float16"
