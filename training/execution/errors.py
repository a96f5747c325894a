"""How a training run ends where it cannot go on."""


class LoopError(RuntimeError):
    """Training cannot go on; the message says at which step and on which sentences or images."""
