"""What a crew says to people: notices, and the error that ends a run. A program names both without starting Ray."""

from dataclasses import dataclass


class CrewError(RuntimeError):
    """The run cannot go on; the message has the cause."""


@dataclass(frozen=True, kw_only=True)
class Notice:
    """Something a person watching should know."""

    text: str
