"""The request that a run's ranks stop early: a file in the run's folder, which all ranks see on any machine.

`launch` makes the request on Ctrl-C and SIGTERM, and waits. Ranks look after each step: one that has seen the request
writes what it has done and returns, as if it had been asked for no more steps.
"""

from pathlib import Path

STOP = "stop-requested"


def request_stop(run: Path) -> None:
    """The run's ranks are asked to stop after the step that they are at."""
    (run / STOP).touch()


def stop_is_requested(run: Path) -> bool:
    """Return whether ranks should stop; they may see it at different steps, so that one must decide for all."""
    return (run / STOP).exists()


def withdraw_stop(run: Path) -> None:
    """Nothing asks the run's ranks to stop."""
    (run / STOP).unlink(missing_ok=True)
