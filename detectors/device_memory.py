"""What becomes of a detector that asks its device for more memory than it has."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


class DeviceMemoryError(ValueError):
    """A detector does not fit into its device's memory; the message says what to do."""


@contextmanager
def within_device_memory(advice: str) -> Iterator[None]:
    """A body that runs out of the device's memory ends in a `DeviceMemoryError` with the advice."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise DeviceMemoryError(f"the detector ran out of its device's memory ({reason}); {advice}") from error
