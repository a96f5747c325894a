"""A cluster of real Ray nodes on one machine: a submitted job, a node that is killed, another that joins."""

import os
import platform
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from annotations.toyworld.world import write_toy_world
from detectors.weights.files import SHIPPED
from stores.manifest import read_manifest

RAY = str(Path(sys.executable).with_name("ray"))
VINCULUM = str(Path(sys.executable).with_name("vinculum"))
PATIENCE_SECONDS = 90


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(condition, what):
    ends = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < ends, f"{what}: not within {PATIENCE_SECONDS} s"
        time.sleep(0.2)


class Node:
    """A `ray start --block`, its raylet and whoever works below it."""

    def __init__(self, *options, environment, log, without=None):
        command = [RAY, "start", "--block", "--disable-usage-stats", *options]
        if without is not None:  # this node sees an empty folder there
            mounted = f"mount -t tmpfs none {without} && exec {' '.join(command)}"
            command = ["unshare", "--mount", "sh", "-c", mounted]
        self.log = log.open("a")
        self.process = subprocess.Popen(command, env=environment, stdout=self.log, stderr=subprocess.STDOUT)

    def family(self):
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def find(self, title):
        return [each for each in self.family() if title in " ".join(told(each))]

    def kill(self):
        """As when its machine loses power: nothing of it says goodbye."""
        for each in [*self.family(), psutil.Process(self.process.pid)]:
            try:
                each.send_signal(signal.SIGKILL)
            except psutil.NoSuchProcess:
                continue
        self.process.wait()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
        self.log.close()


def told(process):
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@contextmanager
def stopped_after(nodes):
    try:
        yield nodes
    finally:
        for node in reversed(nodes):
            node.stop()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_job_on_two_nodes_survives_one_and_takes_on_another(tmp_path):
    write_toy_world(tmp_path / "world", num_images=90, seed=0)
    options = ["extract", "--images", str(tmp_path / "world/images"), "--weights", "toyworld", "--shard-size", "3"]
    options += ["--cpus-per-worker", "1"]
    alone = [VINCULUM, *options, "--workers", "1", "--out", str(tmp_path / "alone")]
    assert subprocess.run(alone, capture_output=True, timeout=300).returncode == 0
    (tmp_path / "token").write_text("of-the-test-" + "x" * 32)
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    gcs, dashboard = free_port(), free_port()

    def join(name, *resources):
        where = (f"--address=127.0.0.1:{gcs}", *resources)
        return Node(*where, environment=environment, log=tmp_path / f"{name}.log")

    head = Node(
        *("--head", f"--port={gcs}", f"--dashboard-port={dashboard}", "--num-cpus=1"),
        environment=environment,
        log=tmp_path / "head.log",
    )
    with stopped_after([head]) as nodes:
        until(lambda: head.find("raylet/raylet"), "the head node")
        second = join("second", "--num-cpus=1", '--resources={"larger": 1}', f"--memory={2**30}")
        nodes.append(second)
        until(lambda: second.find("raylet/raylet"), "the second node")
        (tmp_path / "job").mkdir()
        submit = [RAY, "job", "submit", "--address", f"http://127.0.0.1:{dashboard}"]
        submit += ["--working-dir", str(tmp_path / "job"), "--", VINCULUM, *options, "--workers", "2"]
        submit += ["--out", str(tmp_path / "regions")]
        with (tmp_path / "job.log").open("w") as log:
            job = subprocess.Popen(submit, env=environment, stdout=log, stderr=subprocess.STDOUT)

            def finished():
                return len(list((tmp_path / "regions").glob("shard-*.arrow")))

            until(lambda: head.find("ray::ShardWorker") and second.find("ray::ShardWorker"), "a worker on either node")
            until(lambda: finished() >= 4 or job.poll() is not None, "the first shards")
            assert job.poll() is None and finished() < 30, (tmp_path / "job.log").read_text()[-3000:]
            second.kill()
            third = join("third", "--num-cpus=1")
            nodes.append(third)
            until(lambda: third.find("ray::ShardWorker") or job.poll() is not None, "a worker on the third node")
            assert job.wait(300) == 0, (tmp_path / "job.log").read_text()[-3000:]
    log = (tmp_path / "job.log").read_text()
    assert re.search(r"worker \d+ died over (shard-|no shard)", log), log[-3000:]
    manifest = read_manifest(tmp_path / "regions")
    assert sum(entry.rows for entry in manifest.shards) == 90
    kept = [
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir() if path.name != "run.jsonl"}
        for name in ("alone", "regions")
    ]
    assert kept[0] == kept[1]


def may_mount():
    command = ["unshare", "--mount", "true"]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(not may_mount(), reason="a node without the weights needs unshare --mount, as root")
def test_a_node_without_the_weights_ends_the_run_with_its_name(tmp_path):
    write_toy_world(tmp_path / "world", num_images=12, seed=0)
    (tmp_path / "weights").mkdir()
    shutil.copy(SHIPPED["toyworld"], tmp_path / "weights/toy.safetensors")
    (tmp_path / "token").write_text("of-the-test-" + "x" * 32)
    environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
    gcs = free_port()
    head = Node(
        *("--head", f"--port={gcs}", "--num-cpus=1", "--include-dashboard=false"),
        environment=environment,
        log=tmp_path / "head.log",
    )
    with stopped_after([head]) as nodes:
        until(lambda: head.find("raylet/raylet"), "the head node")
        bare = Node(
            *(f"--address=127.0.0.1:{gcs}", "--num-cpus=1"),
            environment=environment,
            log=tmp_path / "bare.log",
            without=tmp_path / "weights",
        )
        nodes.append(bare)
        until(lambda: bare.find("raylet/raylet"), "the bare node")
        command = [VINCULUM, "extract", "--images", str(tmp_path / "world/images"), "--shard-size", "1"]
        command += ["--weights", str(tmp_path / "weights/toy.safetensors"), "--out", str(tmp_path / "regions")]
        command += ["--address", f"127.0.0.1:{gcs}", "--workers", "2", "--cpus-per-worker", "1"]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert result.returncode == 1
    assert f"a worker could not start: RuntimeError: node {platform.node()}: weights" in result.stderr
    assert "toy.safetensors': no such file" in result.stderr
