import pytest
import torch

from detectors.device_memory import DeviceMemoryError, within_device_memory


def test_a_device_without_memory_ends_in_one_line_with_what_to_do():
    with (
        pytest.raises(DeviceMemoryError, match=r"\(CUDA out of memory\. Tried 20 GiB\); take --device cpu$"),
        within_device_memory("take --device cpu"),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried 20 GiB\nmore of it")


def test_other_errors_stay_what_they_are():
    with pytest.raises(KeyError), within_device_memory("take --device cpu"):
        raise KeyError("other")
