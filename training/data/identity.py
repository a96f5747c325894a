"""Which data a run has learnt from, known by content: its sentences, and its regions, grids or files of images."""

import sys
from collections.abc import Mapping

from stores.errors import StoreError
from stores.manifest import differences, fingerprint
from stores.programs.terminal import printable
from stores.store_content import content_sha256, shards_since
from training.data.shards import JoinedShards

CONTENT = "content"
"""Key of the data's content: the SHA-256 of a store's shard digests; for files see `Pictures.content`."""
LEFT_OUT = "sentences_left_out"
"""Sentences without a grid, fewer of which there are as a store grows; of regions there is none."""
SENTENCES = "sentences"


def data_of(shards: JoinedShards) -> dict[str, str]:
    """Return what a recipe records of its data; with more sentences, the order of all is another one."""
    left_out = {LEFT_OUT: str(shards.num_left_out)} if shards.content == "grid" else {}
    return {
        _settings(shards): shards.fingerprint,
        CONTENT: content_sha256(shards.regions.manifest) if shards.pictures is None else shards.pictures.content,
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
        if shards.content != "regions" or shards.aligned_content is None:  # else the sentences compare them
            told = (
                f"{subject}: an older version began it and recorded no content of its {_noun(shards)}; whether "
                f"{shards.images_place} has the same cannot be checked beyond settings and ids"
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
        raise StoreError(f"{shards.images_place}: {'; '.join(wrong)}; expected the data that {subject} began with")


def compare_with_learnt(shards: JoinedShards, learnt: Mapping[str, str], subject: object) -> None:
    """A measurement is on what the run has learnt from, or on other data; standard error is told of other settings.

    Raises:
        StoreError: images of the run's own sentences are others than those that it has learnt from.
    """
    expected = learnt.get(_settings(shards))
    if shards.pictures is None and expected not in (None, shards.fingerprint):
        told = (
            f"{subject} learnt from {_noun(shards)} of fingerprint {expected}, {shards.images_place} has "
            f"{shards.fingerprint}: made with other settings; figures are of these"
        )
        print(printable(told), file=sys.stderr)
    if CONTENT in learnt:
        _require_same_content(shards, learnt, subject)


def _require_same_content(shards: JoinedShards, learnt: Mapping[str, str], subject: object) -> None:
    if not _is_comparable(shards, learnt) or _holds(shards, learnt[CONTENT]):
        return
    raise StoreError(
        f"{subject} learnt from {_noun(shards)} of content {learnt[CONTENT]}, {shards.images_place} has "
        f"{data_of(shards)[CONTENT]}: other {_noun(shards)} of the same names and settings; expected those that it "
        "learnt from. Use these, or begin a new run"
    )


def _is_comparable(shards: JoinedShards, learnt: Mapping[str, str]) -> bool:
    """Return whether content is to be the same: of the same files' ids, or of the same sentences and settings."""
    is_same = learnt.get(_settings(shards)) == shards.fingerprint
    return is_same and (shards.pictures is not None or learnt.get(SENTENCES) == _sentences(shards))


def _holds(shards: JoinedShards, content: str) -> bool:
    if shards.pictures is not None:
        return shards.pictures.content == content
    return shards_since(shards.regions.manifest, content) is not None


def _noun(shards: JoinedShards) -> str:
    return "grids" if shards.content == "grid" else shards.content


def _settings(shards: JoinedShards) -> str:
    """Return under which name a recipe has the fingerprint of these regions, grids or files."""
    return "images" if shards.content == "images" else "regions"


def _sentences(shards: JoinedShards) -> str:
    sentences = shards.sentences.manifest
    return fingerprint({"configuration": sentences.configuration, "shards": [each.sha256 for each in sentences.shards]})
