"""Signals: the first is obeyed in order, a second one at once; the status is the shells'."""

import os
import signal
import subprocess
import sys
import time

import pytest

from stores.programs.stopping import Stopped, ending_on_request, stoppable


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_raises_with_the_status_of_shells(number, status):
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a suite in a shell's background ignores it
    with pytest.raises(Stopped) as stopped, stoppable():
        os.kill(os.getpid(), number)
        time.sleep(5)
    assert stopped.value.status == status
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_body_that_ends_when_it_is_asked_to_is_not_interrupted():
    asked = []
    reached = False
    with pytest.raises(Stopped) as stopped, stoppable(), ending_on_request(lambda: asked.append(1), patience=60):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
        reached = True
    assert (stopped.value.status, asked, reached) == (143, [1], True)


def test_a_body_that_does_not_end_when_it_is_asked_to_is_interrupted():
    started = time.monotonic()
    with pytest.raises(Stopped) as stopped, stoppable(), ending_on_request(lambda: None, patience=0.2):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
    assert stopped.value.status == 143 and time.monotonic() - started < 10


def test_a_second_signal_interrupts_a_body_that_was_asked():
    with pytest.raises(Stopped) as stopped, stoppable(), ending_on_request(lambda: None, patience=60):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)
    assert stopped.value.status == 130


IN_VAIN = """
import os, signal, time
from stores.programs.stopping import stoppable
with stoppable():
    try:
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(30)
    finally:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(30)
"""


def test_a_signal_while_the_first_one_is_obeyed_ends_the_process():
    assert subprocess.run([sys.executable, "-c", IN_VAIN], timeout=20).returncode == 143


def test_an_interrupt_that_a_library_raises_in_its_place_keeps_the_signal():
    with pytest.raises(Stopped) as stopped, stoppable():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(5)
        except KeyboardInterrupt:
            raise KeyboardInterrupt from None
    assert stopped.value.status == 143
