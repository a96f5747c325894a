import http.server
import threading
from contextlib import contextmanager

import fsspec
import pytest

import stores.locations
from stores.images.bytes import read_source
from stores.images.listing import SourceError, list_images
from stores.images.sources import ImageSource
from stores.locations import (
    ALLOW_LOCAL,
    LOCAL_NETWORKS,
    PROTOCOLS,
    LocationError,
    filesystem_of,
    is_url,
    is_whole,
    opened,
    require_permitted,
    shown,
    without_secrets,
)
from stores.places import FolderPlace, ObjectPlace, place_of


@contextmanager
def server(answers):
    """Serve a dict of path to bytes, or to the URL of a redirect; yields its URL and the paths asked for."""
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            answer = answers.get(self.path.partition("?")[0])
            if isinstance(answer, str):
                self.send_response(302)
                self.send_header("Location", answer)
                body = b""
            else:
                self.send_response(404 if answer is None else 200)
                body = answer or b""
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *arguments):
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http_server:
        threading.Thread(target=http_server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{http_server.server_port}", asked
        finally:
            http_server.shutdown()


@pytest.fixture
def local_allowed(monkeypatch):
    monkeypatch.setenv(ALLOW_LOCAL, "1")


def read(location):
    with opened(location) as file:
        return file.read()


@pytest.mark.parametrize("protocol", sorted({*fsspec.available_protocols()} - {*PROTOCOLS}))
def test_no_other_protocol_of_fsspec_is_opened(tmp_path, protocol):
    for url in (f"{protocol}://{tmp_path}/x.jpg", f"{protocol.upper()}://x.jpg", f"{protocol}::{tmp_path}://x"):
        with pytest.raises(LocationError):
            filesystem_of(url)
        with pytest.raises(OSError, match="expected"):
            read_source(ImageSource("1", url))
        (tmp_path / "list.tsv").write_text(f"1\t{url}\n")
        with pytest.raises(SourceError, match=r"list\.tsv:1: .*expected"):
            list_images([str(tmp_path / "list.tsv")])
        with pytest.raises(LocationError):
            place_of(f"{protocol}://out")


def test_a_list_can_not_send_a_variable_away(tmp_path, monkeypatch, local_allowed):
    monkeypatch.setenv("A_SECRET_OF_THE_TEST", "hunter2")
    with server({}) as (url, asked):
        template = '{"version": 1, "templates": {"s": "{{env.A_SECRET_OF_THE_TEST}}"}, "refs": {"x.jpg": ["%s/{{s}}"]}}'
        (tmp_path / "evil.json").write_text(template % url)
        (tmp_path / "list.tsv").write_text(f"1\treference://x.jpg::file://{tmp_path}/evil.json\n")
        with pytest.raises(SourceError, match=r"list\.tsv:1: .*'::' chains file systems"):
            list_images([str(tmp_path / "list.tsv")])
        with pytest.raises(OSError, match="'::' chains"):
            read_source(ImageSource("1", f"reference://x.jpg::file://{tmp_path}/evil.json"))
    assert asked == []


def test_the_advice_for_two_colons_and_for_an_unknown_protocol_helps(tmp_path, local_allowed):
    with server({"/a%3A%3Ab.jpg": b"colons", "/a::b.jpg": b"colons"}) as (url, _):
        with pytest.raises(LocationError, match="write %3A%3A"):
            require_permitted(f"{url}/a::b.jpg")
        assert read(f"{url}/a%3A%3Ab.jpg") == b"colons"
    with pytest.raises(LocationError, match="download the file, and give its path"):
        require_permitted("ftp://host/a.jpg")
    require_permitted("https://[2001:db8::1]:8000/a.jpg")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_a_loopback_address_is_connected_to_only_when_asked_for(host, monkeypatch):
    with server({"/1.jpg": b"one"}) as (url, asked):
        local = f"{url.replace('127.0.0.1', host)}/1.jpg"
        with pytest.raises(OSError, match=f"address of this machine or its link.*set {ALLOW_LOCAL}=1"):
            read(local)
        assert asked == []
        monkeypatch.setenv(ALLOW_LOCAL, "1")
        assert read(local) == b"one"


def test_a_redirect_to_a_link_local_address_is_not_followed(monkeypatch):
    without_loopback = tuple(each for each in LOCAL_NETWORKS if not each.is_loopback)
    monkeypatch.setattr(stores.locations, "LOCAL_NETWORKS", without_loopback)
    with server({"/1.jpg": "http://169.254.169.254/latest/meta-data/"}) as (url, asked):
        with pytest.raises(OSError, match=r"169\.254\.169\.254 is an address of this machine or its link"):
            read(f"{url}/1.jpg")
        assert asked


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("photos/a?b#c@d.jpg", "photos/a?b#c@d.jpg"),
        ("https://host/a.jpg", "https://host/a.jpg"),
        ("https://user:password@host/a.jpg", "https://<hidden>@host/a.jpg"),
        ("s3://key:secret@bucket/a?b.jpg", "s3://<hidden>@bucket/a?b.jpg"),
        ("https://user@mail:p@ss@host:80", "https://<hidden>@host:80"),
        ("HTTPS://host/a.jpg?X-Amz-Signature=abc", "HTTPS://host/a.jpg?<"),
        ("https://host/a.jpg#token=abc", "https://host/a.jpg?<"),
        ("https://host?sig=abc", "https://host?<"),
        ("hf://datasets/owner/name@main/a.jpg", "hf://datasets/owner/name@main/a.jpg"),
        ("hf://owner@main/a.jpg", "hf://owner@main/a.jpg"),
        ("simplecache::https://user:password@host/a.jpg", "simplecache::https://<hidden>@host/a.jpg"),
    ],
)
def test_a_location_is_shown_without_its_secrets(url, expected):
    assert shown(url).startswith(expected)
    assert not any(secret in shown(url) for secret in ("password", "secret", "p@ss", "abc"))
    assert shown(shown(url)) == shown(url)
    assert is_whole(shown(url)) == (shown(url) == url)
    assert "abc" not in without_secrets(f"get({url}) of '{url}'", url)


def test_two_urls_that_differ_in_their_query_stay_apart():
    assert shown("https://host/photo?id=5") != shown("https://host/photo?id=6")
    assert shown("https://a:b@host/photo?id=5") == shown("https://c:d@host/photo?id=5")


def test_what_a_location_lost_when_it_was_stored_is_said():
    for url in ("https://user:password@host/a.jpg", "https://host/a.jpg?sig=abc"):
        with pytest.raises(OSError, match=r"its password or query was not kept, expected the whole URL; list it again"):
            read_source(ImageSource("1", shown(url)))


def test_an_error_of_a_server_has_no_secret(local_allowed):
    with server({}) as (url, _):
        secret = url.replace("http://", "http://user:password@") + "/a b.jpg?sig=abc"
        with pytest.raises(FileNotFoundError) as caught:
            read(secret)
        assert not any(each in str(caught.value) for each in ("password", "abc"))
        for place in (secret, secret.replace(".jpg", ".tsv"), secret.replace(".jpg", ".tar")):
            with pytest.raises(SourceError) as refused:
                list_images([place])
            assert not any(each in str(refused.value) for each in ("password", "abc"))


def test_a_store_is_written_to_folders_and_object_stores_alone(tmp_path):
    assert isinstance(place_of("s3://bucket/regions"), ObjectPlace)
    assert isinstance(place_of(tmp_path), FolderPlace)
    place = place_of(f"file://{tmp_path}/regions")
    with place.owned(()) as folder:
        assert folder == tmp_path / "regions"
    with pytest.raises(LocationError, match=r"https://<hidden>@host.*expected a folder or a URL of s3"):
        place_of("https://user:password@host/regions")


def test_a_path_is_no_url():
    assert not any(map(is_url, ("/a/b://c", "a::b.jpg", "./s3://x", "1://x")))
    assert all(map(is_url, ("s3://x", "a+b.c-d://", "zip::http://x")))
