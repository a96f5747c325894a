"""Joining Ray: what listens, what workers can import, and how soon a cluster that is not there is told of."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
import ray

from stores.programs.ray_connection import joined
from stores.programs.stopping import Stopped, stoppable


def listeners():
    own = psutil.Process()
    for process in (own, *own.children(recursive=True)):
        try:
            yield from (each.laddr.ip for each in process.net_connections("inet") if each.status == "LISTEN")
        except psutil.NoSuchProcess:
            continue


def test_a_local_cluster_listens_on_loopback_and_imports_nothing_of_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "only_here.py").write_text("")
    with pytest.raises(Stopped) as stopped, stoppable(), joined(None):

        @ray.remote
        def look():
            return Path.cwd(), sys.path

        folder, path = ray.get(look.remote())
        addresses = set(listeners())
        threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
        ray.wait([ray.remote(lambda: time.sleep(60)).remote()])  # Ray's own handler would end the process
    assert stopped.value.status == 143
    assert folder != tmp_path and not any(Path(each).resolve() == tmp_path.resolve() for each in path)
    assert addresses and addresses <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_a_cluster_that_is_gone_is_told_of_at_once(monkeypatch, scheme):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"{scheme}127.0.0.1:{probe.getsockname()[1]}"
    started = time.monotonic()
    with pytest.raises(ConnectionError, match=f"--address {address}: no Ray cluster answers"), joined(address):
        pass
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConnectionError, match=f"RAY_ADDRESS {address}: no Ray cluster answers"), joined(None):
        pass
    assert time.monotonic() - started < 10


def test_what_listens_and_is_no_ray_is_told_of_in_seconds(monkeypatch):
    monkeypatch.setattr("stores.programs.ray_connection.PATIENCE_SECONDS", 1)
    with socket.socket() as stranger:
        stranger.bind(("127.0.0.1", 0))
        stranger.listen()
        address = f"127.0.0.1:{stranger.getsockname()[1]}"
        with pytest.raises(ConnectionError, match="something else listens there"), joined(address):
            pass


@pytest.mark.parametrize("address", ["head", "head:", "http:", ":6379", "127.0.0.1:99999"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(ConnectionError, match=r"expected HOST:PORT"), joined(address):
        pass


@pytest.mark.slow
def test_a_local_cluster_needs_no_home_that_can_be_written():
    look = (
        "import ray; from stores.programs.ray_connection import joined\n"
        "with joined(None): print(ray.cluster_resources()['CPU'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", look],
        env={**os.environ, "HOME": "/dev/null"},
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0 and float(done.stdout) >= 1, done.stderr


def test_a_local_cluster_that_does_not_start_is_told_in_a_line(tmp_path):
    deep = tmp_path / ("deep" * 25)
    deep.mkdir()
    start = "from stores.programs.ray_connection import joined\nwith joined(None): pass"
    done = subprocess.run(
        [sys.executable, "-c", start],
        env={
            **os.environ,
            "RAY_TMPDIR": str(deep),
        },  # the paths of Ray's sockets become longer than sockets' paths may be
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
    )
    told = done.stderr.strip().splitlines()[-1]
    assert done.returncode == 1 and told.startswith("ConnectionError: Ray did not start on this machine: "), done.stderr
    assert "free memory and processors, and run again" in told
