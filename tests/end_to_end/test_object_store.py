"""Extraction to a real S3 server, through a network that fails now and then, by runs that are killed."""

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from annotations.toyworld.world import write_toy_world

boto3 = pytest.importorskip("boto3", reason="no S3 server here: pip install -e '.[test]'")
pytest.importorskip("s3fs", reason="no S3 client here: pip install -e '.[test]'")

VINCULUM = str(Path(sys.executable).with_name("vinculum"))
ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "of-the-test",
    "AWS_SECRET_ACCESS_KEY": "of-the-test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Faults:
    """Between client and server: one answer in `every` is a 503, or none at all."""

    def __init__(self, server_port, every):
        self.told = 0
        generator, lock, faults = random.Random(0), threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                with lock:
                    fails = every and generator.randrange(every) == 0
                    faults.told += bool(fails)
                    drops = fails and generator.random() < 0.3
                if drops:
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                    return
                if fails:
                    self.answer(
                        503,
                        {},
                        b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate</Message></Error>",
                    )
                    return
                upstream = http.client.HTTPConnection("127.0.0.1", server_port, timeout=30)
                upstream.request(self.command, self.path, body, dict(self.headers))
                answer = upstream.getresponse()
                self.answer(answer.status, dict(answer.getheaders()), answer.read())
                upstream.close()

            def answer(self, status, headers, body):
                self.send_response(status)
                for name, value in headers.items():
                    if name.lower() not in ("content-length", "transfer-encoding", "connection", "server", "date"):
                        self.send_header(name, value)
                length = headers.get("Content-Length", len(body)) if self.command == "HEAD" else len(body)
                self.send_header("Content-Length", str(length))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            def log_message(self, *_):
                pass

        for method in ("GET", "PUT", "HEAD", "POST", "DELETE"):
            setattr(Handler, f"do_{method}", Handler.forward)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def server():
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        ends = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert time.monotonic() < ends, "the S3 server does not start"
                time.sleep(0.2)
        yield port
        process.terminate()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    place = tmp_path_factory.mktemp("objects")
    write_toy_world(place / "world", num_images=24, seed=0)
    (place / "world/images/torn.jpg").write_bytes(b"no picture")
    assert extraction(place, place / "regions").wait(300) == 3
    return place


def extraction(place, out, *more, port=None):
    environment = os.environ | ACCOUNT
    if port is not None:
        environment |= {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    command = [VINCULUM, "extract", "--images", str(place / "world/images"), "--weights", "toyworld"]
    command += ["--shard-size", "3", "--out", str(out), *more]
    log = (place / "log").open("a")
    return subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


def client(port):
    endpoint = {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "us-east-1"}
    keys = {"aws_access_key_id": "of-the-test", "aws_secret_access_key": "of-the-test"}
    return boto3.client("s3", **endpoint, **keys)


def objects(port, bucket):
    s3 = client(port)
    listed = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
    return {
        each["Key"].rpartition("/")[2]: s3.get_object(Bucket=bucket, Key=each["Key"])["Body"].read() for each in listed
    }


def local(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "run.jsonl"}


def without_log(files):
    return {name: content for name, content in files.items() if name != "run.jsonl"}


@pytest.mark.timeout(400)
def test_objects_are_the_files_of_a_local_store_though_the_network_fails(server, world):
    client(server).create_bucket(Bucket="faulty")
    faults = Faults(server, every=4)
    assert extraction(world, "s3://faulty/deep/regions", port=faults.port).wait(300) == 3, (world / "log").read_text()
    assert faults.told >= 5
    found = objects(server, "faulty")
    assert without_log(found) == local(world / "regions")
    events = [json.loads(line)["event"] for line in found["run.jsonl"].splitlines()]
    assert events[0] == "start" and events[-1] == "end"


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("victim", ["driver", "ray::ShardWorker"])
def test_a_killed_run_to_an_object_store_goes_on_where_it_was(server, world, victim):
    bucket = f"killed-{'driver' if victim == 'driver' else 'worker'}"
    client(server).create_bucket(Bucket=bucket)
    process = extraction(world, f"s3://{bucket}/regions", port=server)
    ends = time.monotonic() + 120
    while sum(name.startswith("shard-") for name in objects(server, bucket)) < 3:
        assert process.poll() is None and time.monotonic() < ends, (world / "log").read_text()[-2000:]
        time.sleep(0.2)
    if victim == "driver":
        process.kill()
        process.wait()
        again = extraction(world, f"s3://{bucket}/regions", port=server)
    else:
        for each in psutil.Process(process.pid).children(recursive=True):
            if victim in " ".join(each.cmdline()):
                os.kill(each.pid, signal.SIGKILL)
                break
        again = process
    assert again.wait(300) == 3, (world / "log").read_text()[-2000:]
    assert without_log(objects(server, bucket)) == local(world / "regions")


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_what_quarantine_held_is_tried_again_in_the_object_store(server, world, tmp_path):
    client(server).create_bucket(Bucket="mended")
    assert extraction(world, "s3://mended/regions", port=server).wait(300) == 3
    torn = world / "world/images/torn.jpg"
    whole = next(path for path in sorted(torn.parent.iterdir()) if path != torn)
    try:
        torn.write_bytes(whole.read_bytes())
        again = extraction(world, "s3://mended/regions", "--retry-quarantine", port=server)
        assert again.wait(300) == 0, (world / "log").read_text()[-2000:]
        assert extraction(world, tmp_path / "mended").wait(300) == 0
    finally:
        torn.write_bytes(b"no picture")
    found, expected = objects(server, "mended"), local(tmp_path / "mended")
    assert set(found) - {"run.jsonl"} == set(expected)
    assert all(found[name] == expected[name] for name in expected if name.startswith("shard-"))


@pytest.mark.timeout(200)
def test_a_bucket_that_is_not_there_is_told_before_anything_starts(server, world):
    before = (world / "log").read_text()
    assert extraction(world, "s3://nowhere/regions", port=server).wait(120) == 1
    told = (world / "log").read_text()[len(before) :]
    assert "s3://nowhere/regions" in told and "images in" not in told
