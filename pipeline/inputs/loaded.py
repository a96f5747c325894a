"""What decides the bytes of an extraction beside the images, as the driver and every worker read it for themselves."""

import json
import platform
from collections.abc import Mapping
from typing import Any

from stores.manifest import canonical_json, differences


class OtherInputsError(RuntimeError):
    """A worker read other files than the run began with; the message has both values."""


def described_inputs(
    detector_name: str, described: Mapping[str, Any], given_boxes_sha256: str | None
) -> dict[str, Any]:
    """Return the configuration of a store: the detector with all that it was built of, and the given boxes."""
    return {
        "detector": {"name": detector_name, **described},
        "given_boxes": None if given_boxes_sha256 is None else {"sha256": given_boxes_sha256},
    }


def require_same_inputs(of_run: Mapping[str, Any], of_worker: Mapping[str, Any]) -> None:
    """Both are equal in JSON.

    Raises:
        OtherInputsError: naming this node and every value that differs.
    """
    run, worker = (json.loads(canonical_json(each)) for each in (of_run, of_worker))
    found = list(differences("", run, worker, told="this worker read"))
    if found:
        raise OtherInputsError(
            f"node {platform.node()}: {'; '.join(found)}; expected every worker to read what the run began with. "
            "Put the same files on every node, let nobody replace them, and run again"
        )
