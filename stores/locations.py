"""Where files are: paths, and URLs of a few protocols. Every URL of the program is opened here and nowhere else.

What a location may be is a table, because lists come from strangers: fsspec by itself knows protocols that interpret
files (`reference`, `zip`, `filecache`, ...) and chains of them, by which a line of a list could read this machine's
files and variables and send them away.
"""

import errno
import hashlib
import ipaddress
import os
import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

import fsspec

PROTOCOLS = ("file", "http", "https", "s3", "gs", "hf")
"""Protocols of URLs that may be opened. None of them interprets what it reads."""

OBJECT_STORES = ("s3", "gs", "hf")
"""Protocols of which a store may be written."""

LOCAL_NETWORKS = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8",  # Linux connects 0.0.0.0 to the machine itself
            "127.0.0.0/8",
            "169.254.0.0/16",  # link-local; in clouds 169.254.169.254 hands out credentials, and so do the next three
            "100.100.100.200/32",
            "192.0.0.192/32",
            "fd00:ec2::254/128",
            "::/128",
            "::1/128",
            "fe80::/10",
        ),
    )
)
"""Addresses that http URLs are not connected to, whichever name or redirect leads there."""

ALLOW_LOCAL = "VINCULUM_ALLOW_LOCAL_ADDRESSES"
"""An environment variable; with 1, http URLs may lead into `LOCAL_NETWORKS`."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+._-]*://")
_CHAIN = re.compile(r"[A-Za-z][A-Za-z0-9+._-]*::.*://", re.DOTALL)
_URL_IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+._-]*://[^\s'\"]+")
_HIDDEN_USER = "<hidden>@"
_HIDDEN_QUERY = re.compile(r"\?<[0-9a-f]{8}>$")


class LocationError(ValueError):
    """A URL that may not be opened; the message has it without its secrets."""


def is_url(location: str) -> bool:
    """Return whether the location is a URL, or means to be one, and no path."""
    return _URL.match(location) is not None or _CHAIN.match(location) is not None


def require_permitted(url: str) -> None:
    """The URL is of a protocol in the table, no chain of several, and was not stored without its secrets.

    Raises:
        LocationError: it is another.
    """
    protocol = url.partition("://")[0].lower()
    if not is_whole(url):
        raise LocationError(
            f"{url!r}: its password or query was not kept, expected the whole URL; list it again, with these"
        )
    if "::" in url.partition("]")[2 if "://[" in url else 0]:  # an IPv6 address has :: between brackets
        raise LocationError(
            f"{shown(url)!r}: '::' chains file systems, expected one plain URL; "
            "where it belongs to the name of an http file, write %3A%3A"
        )
    if protocol not in PROTOCOLS:
        raise LocationError(
            f"{shown(url)!r}: protocol {protocol!r}, expected a path or a URL of {', '.join(PROTOCOLS)}; "
            "download the file, and give its path"
        )


def local_path(location: str) -> Path | None:
    """Return the path of a location on this machine, also where it is a `file://` URL; None for other URLs."""
    if location.lower().startswith("file://"):
        return Path(location[len("file://") :])
    return None if is_url(location) else Path(location)


def path_of(location: str) -> PurePosixPath:
    """Return the path of a location, for its name and suffix; the query of an http URL is no part of it."""
    return PurePosixPath(without_query(location))


def without_query(location: str) -> str:
    """Return the location without the query and fragment of an http URL."""
    return re.split(r"[?#]", location, maxsplit=1)[0] if _is_http(location) else location


def filesystem_of(url: str) -> tuple[Any, str]:
    """Return fsspec's file system of a URL, and the path in it.

    Raises:
        LocationError: the URL may not be opened.
    """
    require_permitted(url)
    options = {"get_client": _http_client} if _is_http(url) else {}
    filesystem, path = fsspec.url_to_fs(url, **options)
    return filesystem, path


@contextmanager
def opened(location: str) -> Iterator[IO[bytes]]:
    """Return a context manager of the file at a path or URL, open for reading its bytes.

    Raises:
        LocationError: the URL may not be opened.
        OSError: it cannot be opened; FileNotFoundError where there is no such file.
    """
    path = local_path(location)
    if path is not None:
        with path.open("rb") as file:
            yield file
        return
    filesystem, root = filesystem_of(location)
    try:
        file = filesystem.open(root, "rb")
    except Exception as error:  # every remote file system has errors of its own
        raise remote_error(error, location) from error
    with file:
        yield file


def remote_error(error: Exception, url: str) -> OSError:
    """Return what a file system raised about a URL as an OSError with its cause, and without the URL's secrets.

    FileNotFoundError where there is no such file; fsspec says so of http whatever the cause is.
    """
    is_wrapped = isinstance(error.__cause__, Exception) and not isinstance(error, ImportError)
    cause = error.__cause__ if is_wrapped else error
    is_absent = isinstance(cause, FileNotFoundError) or getattr(cause, "status", None) in (404, 410)
    kind = FileNotFoundError if is_absent else OSError
    return kind(f"{type(cause).__name__}: {without_secrets(str(cause), url)}")


def shown(location: str) -> str:
    """Return a location as it is shown and stored: without user information and query.

    A short digest stands for the query, so that two locations that differ in it alone stay apart.
    """
    if not is_url(location):
        return location
    protocol, _, rest = location.partition("://")
    host, slash, path = rest.partition("/")
    if protocol.lower() != "hf":  # its names have an @ before a revision
        host = re.sub(r"^.*@", _HIDDEN_USER, host, flags=re.DOTALL)
    url = f"{protocol}://{host}{slash}{path}"
    if not protocol.lower().endswith(("http", "https")) or _HIDDEN_QUERY.search(url):
        return url
    before, *query = re.split(r"[?#]", url, maxsplit=1)
    return f"{before}?<{_digest(query[0])}>" if query else before


def is_whole(location: str) -> bool:
    """Return whether a location can be opened as it is: nothing was hidden from it when it was stored."""
    return _HIDDEN_USER not in location and _HIDDEN_QUERY.search(location) is None


def without_secrets(text: str, *urls: str) -> str:
    """Return a text in which these URLs, and all others that it has, are as they are shown."""
    for url in urls:
        text = text.replace(url, shown(url))
    return _URL_IN_TEXT.sub(lambda found: shown(found[0]), text)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]


def _is_http(location: str) -> bool:
    return location.lower().startswith(("http://", "https://"))


async def _http_client(**options: Any) -> Any:
    """Return a client that checks each address it connects to, after names are resolved and at every redirect."""
    import aiohttp  # fsspec's own for http: whoever reads no URL needs none

    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(socket_factory=_socket_to), **options)


def _socket_to(address: tuple[Any, ...]) -> socket.socket:
    family, kind, protocol, _, peer = address
    _require_remote(str(peer[0]))
    return socket.socket(family=family, type=kind, proto=protocol)


def _require_remote(host: str) -> None:
    address = ipaddress.ip_address(host.partition("%")[0])
    address = getattr(address, "ipv4_mapped", None) or address
    if os.environ.get(ALLOW_LOCAL) != "1" and any(address in network for network in LOCAL_NETWORKS):
        raise PermissionError(
            errno.EACCES,
            f"{host} is an address of this machine or its link, expected one elsewhere; "
            f"where a URL may lead there, set {ALLOW_LOCAL}=1",
        )
