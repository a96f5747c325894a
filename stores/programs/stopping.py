"""Ctrl-C and SIGTERM: a command leaves what it is at in order, and exits with the status that shells use for them."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """A signal ended the command; it exits with `status`: 130 after Ctrl-C, 143 after SIGTERM."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


class _Signals:
    """What has come since `stoppable` was entered, and who is asked first."""

    def __init__(self) -> None:
        self.count = 0
        self.last: int = signal.SIGINT
        self.first: Callable[[int], None] | None = None
        """Is called for the first signal, instead of raising."""

    def __call__(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self.last = number
        first, self.first = self.first, None
        if first is not None:
            self.count = 0
            first(number)
        elif self.count == 1:
            raise Stopped(number)
        else:  # whatever it is that takes so long, a person wants it to end
            os._exit(128 + number)


_signals = _Signals()


@contextmanager
def stoppable() -> Iterator[None]:
    """The first Ctrl-C or SIGTERM raises `Stopped` in the body; one more ends the process at once."""
    _signals.count, _signals.first = 0, None
    with keep_handlers():
        for number in SIGNALS if _is_main_thread() else ():
            signal.signal(number, _signals)
        try:
            yield
        except Stopped:
            raise
        except KeyboardInterrupt as error:  # Ray raises one of its own where a handler raised while it waited
            raise Stopped(_signals.last) from error


@contextmanager
def ending_on_request(ask: Callable[[], None], *, patience: float) -> Iterator[None]:
    """The first signal calls `ask`, which makes the body end early; then `Stopped` is raised.

    A body that has not ended after `patience` seconds, or when another signal comes, has `Stopped` raised in it.
    """
    asked: list[int] = []
    timers: list[threading.Timer] = []

    def first(number: int) -> None:
        asked.append(number)
        timers.append(threading.Timer(patience, os.kill, (os.getpid(), number)))
        timers[0].daemon = True
        timers[0].start()
        ask()

    _signals.first = first
    try:
        yield
    finally:
        _signals.first = None
        for timer in timers:
            timer.cancel()
    if asked:
        raise Stopped(asked[0])


@contextmanager
def keep_handlers() -> Iterator[None]:
    """Afterwards the handlers of these signals are those from before; Ray sets its own, which abort the process."""
    before: list[Any] = [signal.getsignal(number) for number in SIGNALS]
    try:
        yield
    finally:
        for number, handler in zip(SIGNALS, before, strict=True):
            if _is_main_thread():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
