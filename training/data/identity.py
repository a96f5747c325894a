"""Which data a run has learnt from, known by content: its sentences, and its regions, grids or files of images."""

import sys
from collections.abc import Mapping

from stores.errors import StoreError
from stores.manifest import differences, fingerprint
from stores.programs.terminal import printable
from training.data.shards import JoinedShards

CONTENT = "content"
"""Key of the data's content: the SHA-256 of a store's shard digests; for files see `Pictures.content`."""
LEFT_OUT = "sentences_left_out"
"""Sentences without a grid, fewer of which there are as a store grows; of regions there is none."""
SENTENCES = "sentences"


def data_of(shards: JoinedShards) -> dict[str, str]:
    """Return what a recipe records of its data; with more sentences, the order of all is another one."""
    left_out = {LEFT_OUT: str(shards.num_left_out)} if shards.side.noun == "grids" else {}
    return {
        shards.side.recorded_as: shards.side.fingerprint,
        CONTENT: shards.side.content,
        SENTENCES: _sentences(shards),
        **left_out,
    }


def data_as_begun(shards: JoinedShards, begun: Mapping[str, str] | None, subject: object) -> dict[str, str]:
    """Return the data of a run that is new, where `begun` is None, or that goes on.

    A store that has only grown since is the one that the run began with. What a run of an older version does not
    record is left out, and standard error says so where nothing else compares it.

    Raises:
        StoreError: these are other regions, grids or files than those that `subject` began with.
    """
    data = data_of(shards)
    if begun is None:
        return data
    if CONTENT not in begun:
        if shards.side.joins_freely or shards.aligned_content is None:  # else the sentences compare them
            told = (
                f"{subject}: an older version began it and recorded no content of its {shards.side.noun}; whether "
                f"{shards.side.location} has the same cannot be checked beyond settings and ids"
            )
            print(printable(told), file=sys.stderr)
        return {name: value for name, value in data.items() if name not in (CONTENT, LEFT_OUT)}
    _require_same_content(shards, begun, subject)
    return data | ({CONTENT: begun[CONTENT]} if _is_comparable(shards, begun) else {})


def require_learnt_data(shards: JoinedShards, begun: Mapping[str, str], subject: object) -> None:
    """What a rank has opened is what its run began with, as far as that is recorded.

    Raises:
        StoreError: it is not, such as another store at the same path of another machine.
    """
    found = data_of(shards)
    if CONTENT in begun:
        found = data_as_begun(shards, begun, subject)
    known = {name: begun[name] for name in found if name in begun}
    if wrong := list(differences("data", known, {name: found[name] for name in known})):
        raise StoreError(f"{shards.side.location}: {'; '.join(wrong)}; expected the data that {subject} began with")


def compare_with_learnt(shards: JoinedShards, learnt: Mapping[str, str], subject: object) -> None:
    """A measurement is on what the run has learnt from, or on other data; standard error is told of other settings.

    Raises:
        StoreError: images of the run's own sentences are others than those that it has learnt from.
    """
    expected = learnt.get(shards.side.recorded_as)
    if shards.side.recorded_as == "regions" and expected not in (None, shards.side.fingerprint):
        told = (
            f"{subject} learnt from {shards.side.noun} of fingerprint {expected}, {shards.side.location} has "
            f"{shards.side.fingerprint}: made with other settings; figures are of these"
        )
        print(printable(told), file=sys.stderr)
    if CONTENT in learnt:
        _require_same_content(shards, learnt, subject)


def _require_same_content(shards: JoinedShards, learnt: Mapping[str, str], subject: object) -> None:
    if not _is_comparable(shards, learnt) or shards.side.holds(learnt[CONTENT]):
        return
    raise StoreError(
        f"{subject} learnt from {shards.side.noun} of content {learnt[CONTENT]}, {shards.side.location} has "
        f"{data_of(shards)[CONTENT]}: other {shards.side.noun} of the same names and settings; expected those that it "
        "learnt from. Use these, or begin a new run"
    )


def _is_comparable(shards: JoinedShards, learnt: Mapping[str, str]) -> bool:
    """Return whether content is to be the same: of the same files' ids, or of the same sentences and settings."""
    is_same = learnt.get(shards.side.recorded_as) == shards.side.fingerprint
    return is_same and (shards.side.recorded_as == "images" or learnt.get(SENTENCES) == _sentences(shards))


def _sentences(shards: JoinedShards) -> str:
    sentences = shards.sentences.manifest
    return fingerprint({"configuration": sentences.configuration, "shards": [each.sha256 for each in sentences.shards]})
