"""Counters as Prometheus reads them, from a node's own port, while a run goes on."""

import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from annotations.toyworld.world import write_toy_world

RAY = str(Path(sys.executable).with_name("ray"))
VINCULUM = str(Path(sys.executable).with_name("vinculum"))


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def node(tmp_path):
    """A head node with a metrics port; its address, the port, and the environment of whoever talks to it."""
    gcs, metrics = free_port(), free_port()
    token = tmp_path / "token"
    token.write_text("of-the-test-" + "x" * 32)
    environment = os.environ | {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_metrics_report_interval_ms": "500",
    }
    command = [
        *(RAY, "start", "--head", "--block", "--num-cpus", "2", f"--port={gcs}", f"--metrics-export-port={metrics}"),
        *("--include-dashboard=false", "--dashboard-agent-listen-port=0", "--disable-usage-stats"),
    ]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT) as process:
        yield f"127.0.0.1:{gcs}", metrics, environment
        process.terminate()
        process.wait(timeout=60)


def scrape(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return answer.read().decode()


def value_of(text, name, label):
    """Return the sum of a metric's samples that have the label."""
    samples = re.findall(rf"^ray_{name}\{{([^}}]*)\}} ([0-9.e+-]+)$", text, re.MULTILINE)
    return sum(float(value) for labels, value in samples if label in labels)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_running_extraction_is_seen_by_prometheus(node, tmp_path):
    address, port, environment = node
    write_toy_world(tmp_path / "world", num_images=60, seed=0)
    (tmp_path / "world/images/torn.jpg").write_bytes(b"no picture")
    seen = {}
    done = threading.Event()

    def watch():
        while not done.is_set():
            try:
                text = scrape(port)
            except OSError:
                text = ""
            for name, label in (
                ("vinculum_images_total", 'outcome="stored"'),
                ("vinculum_images_total", 'outcome="quarantined"'),
                ("vinculum_stage_seconds_total", 'stage="detect"'),
                ("vinculum_stage_seconds_total", 'stage="decode"'),
                ("vinculum_shards_total", ""),
            ):
                seen[name, label] = max(seen.get((name, label), 0.0), value_of(text, name, label))
            time.sleep(0.3)

    watcher = threading.Thread(target=watch)
    watcher.start()
    command = [
        *(VINCULUM, "extract", "--images", str(tmp_path / "world/images"), "--weights", "toyworld"),
        *("--out", str(tmp_path / "regions"), "--shard-size", "4", "--address", address),
    ]
    try:
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    finally:
        done.set()
        watcher.join()
    assert result.returncode == 3, result.stderr
    assert 20 <= seen["vinculum_images_total", 'outcome="stored"'] <= 60
    assert seen["vinculum_images_total", 'outcome="quarantined"'] in (0, 1)
    assert seen["vinculum_shards_total", ""] >= 5
    assert seen["vinculum_stage_seconds_total", 'stage="detect"'] > 0
    assert seen["vinculum_stage_seconds_total", 'stage="decode"'] > 0
