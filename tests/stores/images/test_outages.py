"""Reads that are tried again, and an outage told from images that are not there."""

import errno
import http.server
import threading
from collections import Counter
from contextlib import contextmanager

import pytest

from stores.images.bytes import may_pass, read_source
from stores.images.outages import MANY, OutageError, OutageWatch
from stores.images.sources import ImageSource
from stores.locations import ALLOW_LOCAL


@contextmanager
def serving(statuses):
    """Yield a server's address and its requests by path; each path answers with these statuses one after another."""
    requests = Counter()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            told = statuses[min(requests[self.path], len(statuses) - 1)]
            requests[self.path] += 1
            if told != 200:
                self.send_error(told)
                return
            self.send_response(200)
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"image")

        def do_HEAD(self):
            self.send_error(405)

        def log_message(self, *arguments):
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", requests
        server.shutdown()


def test_a_server_that_is_overloaded_for_a_moment_is_asked_again(monkeypatch):
    monkeypatch.setenv(ALLOW_LOCAL, "1")
    with serving([503, 429, 200]) as (url, requests):
        assert read_source(ImageSource("1", f"{url}/1.jpg")) == b"image"
    assert requests["/1.jpg"] >= 3  # the last is asked for twice: for its size, then for its bytes


@pytest.mark.parametrize("status", [404, 403])
def test_what_is_not_there_or_not_permitted_is_asked_for_once(monkeypatch, status):
    monkeypatch.setenv(ALLOW_LOCAL, "1")
    with serving([status]) as (url, requests), pytest.raises(OSError, match=str(status)):
        read_source(ImageSource("1", f"{url}/1.jpg"))
    assert requests["/1.jpg"] == 1


def test_a_disk_that_is_away_may_come_back_and_a_file_that_is_gone_may_not():
    assert all(may_pass(OSError(number, "")) for number in (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EMFILE))
    assert not any(may_pass(OSError(number, "")) for number in (errno.ENOENT, errno.EACCES, errno.ELOOP, errno.EISDIR))
    assert not may_pass(OSError("a folder, pipe or device, expected a file"))


def files(folder, count):
    folder.mkdir()
    sources = [ImageSource(str(number), str(folder / f"{number}.jpg")) for number in range(count)]
    for source in sources:
        (folder / f"{source.image_id}.jpg").write_bytes(b"image")
    return sources


def test_many_that_cannot_be_read_are_an_outage_once_what_was_read_before_cannot_either(tmp_path):
    sources = files(tmp_path / "photos", MANY + 1)
    watch = OutageWatch()
    watch.read(sources[0])
    (tmp_path / "photos").rename(tmp_path / "elsewhere")
    for source in sources[1:-1]:
        watch.not_read(source, "No such file or directory", sources)
    with pytest.raises(OutageError) as caught:
        watch.not_read(sources[-1], "No such file or directory", sources)
    assert f"{MANY} images in a row could not be read, the last is {sources[-1].location}" in str(caught.value)
    assert f"{sources[0].location}, which was read before, cannot be read now" in str(caught.value)


def test_many_that_are_gone_are_no_outage_while_others_can_be_read(tmp_path):
    sources = files(tmp_path / "photos", 2)
    watch = OutageWatch()
    for _ in range(3 * MANY):  # nothing was read before: the neighbours are asked
        watch.not_read(ImageSource("gone", str(tmp_path / "gone.jpg")), "No such file or directory", sources)
    watch.read(sources[0])
    (tmp_path / "photos/1.jpg").unlink()
    for _ in range(3 * MANY):
        watch.not_read(sources[1], "No such file or directory", [sources[1]])


def test_a_beginning_at_which_nothing_can_be_read_is_an_outage(tmp_path):
    sources = [ImageSource(str(number), str(tmp_path / f"{number}.jpg")) for number in range(MANY)]
    watch = OutageWatch()
    with pytest.raises(OutageError, match="no other that was tried can be"):
        for source in sources:
            watch.not_read(source, "No such file or directory", sources)
