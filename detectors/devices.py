"""The one decision on which device a model runs."""

from typing import Literal

AskedDevice = Literal["auto", "cpu", "cuda"]
Device = Literal["cpu", "cuda"]


def device_of(asked: AskedDevice) -> Device:
    """Return the device that is asked for; `auto` is a GPU if this machine has one, else the CPU."""
    if asked != "auto":
        return asked
    import torch  # a command whose help is asked for goes without

    return "cuda" if torch.cuda.is_available() else "cpu"
