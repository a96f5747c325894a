"""Joins a Ray cluster, or starts one for the time of a command: the one place that calls `ray.init`.

It lies below `pipeline` and `training`, which both need it and never import each other.
"""

import logging
import os
import secrets
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import ray
from ray._private import ray_constants, services

from stores.programs.stopping import keep_handlers

PATIENCE_SECONDS = 10
LOOPBACK = "127.0.0.1"


@contextmanager
def joined(address: str | None) -> Iterator[bool]:
    """Be connected to the cluster at `address`, to that of `RAY_ADDRESS` or the running job, or to one started here.

    Yields whether it was started here: then it has this machine's resources and never more. It listens on loopback
    alone, and ends after. No worker has the folder in
    which the command runs, or a job's working directory, on its import path.

    Raises:
        ConnectionError: no cluster answers at the address, or none starts here.
    """
    source, found = _asked_for(address)
    if found is not None:
        _require_answer(source, found)
    with keep_handlers(), TemporaryDirectory(prefix="vinculum-") as nothing:
        # Ray puts the driver's folder first on the import path of its workers, unless they have a working directory.
        # An empty one takes that place; inside a job it takes that of the job's.
        os.environ["RAY_OVERRIDE_JOB_RUNTIME_ENV"] = "1"
        shared: dict[str, Any] = {
            "runtime_env": {"working_dir": nothing},
            "log_to_driver": False,
            "logging_level": logging.ERROR,
        }
        if found is None:
            _start_here(shared)
        else:
            ray.init(address=found, **shared)
    try:
        yield found is None
    finally:
        ray.shutdown()


def _asked_for(address: str | None) -> tuple[str, str | None]:
    """Return what names the cluster and its address; None for one of our own.

    Ray's own default would join whatever cluster was last started on this machine, and die with it.
    """
    source = "--address" if address is not None else "RAY_ADDRESS"
    named = os.environ.get("RAY_ADDRESS") if address is None else address
    if named == "auto":
        named = services.canonicalize_bootstrap_address(named)
    return source, None if named in (None, "", "local") else named


def _start_here(options: dict[str, Any]) -> None:
    """A cluster of this machine runs, of which nothing listens on a network."""
    home = Path.home()
    if not (home.is_dir() and ((home / ".ray/auth_token").exists() or os.access(home, os.W_OK))):
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))  # Ray would write one there
    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False  # else Ray takes the machine's address in the network for its loopback
    try:
        ray.init(address="local", include_dashboard=False, _node_ip_address=LOOPBACK, **options)
    except Exception as error:  # Ray raises just that where its processes do not come up in half a minute
        reason = str(error).partition("\n")[0]
        raise ConnectionError(
            f"Ray did not start on this machine: {reason}; expected it to. Where its processes were too slow, "
            "free memory and processors, and run again: what is made stays"
        ) from error
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _require_answer(source: str, address: str) -> None:
    """Raise ConnectionError where no Ray answers at HOST:PORT; Ray itself would try for a quarter of an hour."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        if not (host and port.isdecimal()):
            raise ConnectionError("this is no HOST:PORT")
        socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_SECONDS).close()
        if os.environ.get("RAY_USE_TLS", "0") == "0":
            _require_grpc(f"{host}:{port}")
    except (OSError, OverflowError) as error:
        message = f"{source} {address}: no Ray cluster answers ({error}); expected HOST:PORT of one that runs"
        raise ConnectionError(message) from error


def _require_grpc(target: str) -> None:
    """Raise ConnectionError where something listens that is no Ray."""
    with grpc.insecure_channel(target, options=[("grpc.enable_http_proxy", 0)]) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=PATIENCE_SECONDS)
        except grpc.FutureTimeoutError as error:
            raise ConnectionError("something else listens there") from error
