"""Weights that fit, and every way in which a file may not."""

import json
from dataclasses import asdict, replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from detectors.conventions import Conventions, override
from detectors.digests import sha256_of
from detectors.networks.faster_rcnn import Architecture, FasterRCNNNetwork
from detectors.vocabulary import VocabularyError, numbered_vocabulary
from detectors.weights.files import (
    SHIPPED,
    WeightsError,
    digest_while_read,
    load_faster_rcnn,
    random_weights,
    read_trainable,
    read_weights,
    save_weights,
)

TINY = Architecture(blocks=(1, 1, 1, 1), width_per_group=8, num_classes=3, num_attributes=2, rpn_channels=8)


@pytest.fixture
def saved(tmp_path):
    torch.manual_seed(0)
    conventions = Conventions(short_side=160, pooling="align")
    path = tmp_path / "tiny.safetensors"
    save_weights(path, FasterRCNNNetwork(TINY, conventions), conventions, numbered_vocabulary(3, 2))
    return path


def rewrite(path, change):
    """Save the file again after `change` has had its tensors and its header."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["vinculum"])
    tensors = load_file(path)
    change(tensors, header)
    save_file(tensors, path, metadata={"vinculum": json.dumps(header)})


def test_weights_come_back_with_their_conventions_and_names(saved):
    weights = read_weights(str(saved), {})
    assert asdict(weights.network.architecture) == asdict(TINY)
    assert weights.conventions == Conventions(short_side=160, pooling="align")
    assert weights.vocabulary == numbered_vocabulary(3, 2)
    assert weights.identity["name"] == "tiny.safetensors" and len(weights.identity["sha256"]) == 64


def test_overrides_go_before_the_files_conventions(saved):
    weights = read_weights(str(saved), {"short_side": "200", "pixel_means": "1,2,3", "boxes": "regressed"})
    assert weights.conventions.short_side == 200
    assert weights.conventions.pixel_means == (1.0, 2.0, 3.0)
    assert weights.conventions.boxes == "regressed"
    assert weights.conventions.pooling == "align"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"short_sde": "1"}, "'short_sde' is unknown; known: anchor_stride"),
        ({"boxes": "rough"}, "boxes is 'rough', expected one of raw, regressed"),
        ({"short_side": "wide"}, "short_side is 'wide'"),
        ({"short_side": "0"}, "short_side is 0, expected at least 1"),
        ({"pixel_means": "1,2"}, r"pixel_means is \(1.0, 2.0\), expected 3 numbers"),
        ({"pixel_stds": "1,0,1"}, "expected no zero"),
    ],
)
def test_an_override_that_means_nothing_is_refused(overrides, message):
    with pytest.raises(ValueError, match=message):
        override(Conventions(), overrides)


def test_missing_and_left_over_tensors_are_listed(saved):
    def change(tensors, header):
        tensors["cls_core.weight"] = tensors.pop("cls_score.weight")

    rewrite(saved, change)
    with pytest.raises(WeightsError, match=r"missing tensors \['cls_score.weight'\], left-over .*'cls_core.weight'"):
        read_weights(str(saved), {})


def test_a_tensor_of_another_shape_is_named_with_both_shapes(saved):
    rewrite(saved, lambda tensors, header: tensors.update({"cls_score.bias": torch.zeros(7)}))
    with pytest.raises(WeightsError, match=r"cls_score.bias is \[7\], expected \[4\]"):
        read_weights(str(saved), {})


def test_a_header_that_does_not_describe_the_file_is_refused(saved):
    rewrite(saved, lambda tensors, header: header.pop("conventions"))
    with pytest.raises(WeightsError, match="does not describe them"):
        read_weights(str(saved), {})


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b"\xff" * 64])
def test_a_file_of_another_kind_is_refused(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="neither safetensors, nor a file of torch"):
        read_weights(str(path), {})


def test_a_foreign_safetensors_file_is_refused(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign.safetensors")
    with pytest.raises(WeightsError, match="names such as a are of no known layout; known: ours, bottom-up"):
        read_weights(str(tmp_path / "foreign.safetensors"), {})


def test_absent_weights_tell_what_there_is():
    with pytest.raises(WeightsError, match=r"no such file; give a file, one of \['toyworld'\], random:SEED, or the id"):
        read_weights("nowhere.safetensors", {})


@pytest.mark.parametrize("name", ["random:", "random:x", "random:-1"])
def test_random_weights_want_a_seed(name):
    with pytest.raises(WeightsError, match="expected random:SEED"):
        random_weights(name, {})


def test_a_vocabulary_of_another_size_is_refused(saved):
    with pytest.raises(WeightsError, match=r"\(4, 2\) classes and attributes, the weights expect \(3, 2\)"):
        load_faster_rcnn(str(saved), vocabulary=numbered_vocabulary(4, 2))


def test_random_weights_are_the_same_for_the_same_seed_and_leave_the_callers_generator_alone():
    torch.manual_seed(5)
    first = random_weights("random:1", {}).network.state_dict()
    untouched = torch.rand(1)
    second = random_weights("random:1", {}).network.state_dict()
    torch.manual_seed(5)
    assert torch.equal(torch.rand(1), untouched)
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = random_weights("random:2", {}).network.state_dict()
    assert not torch.equal(first["cls_score.weight"], other["cls_score.weight"])


def test_the_shipped_detector_is_small_and_knows_the_toy_world():
    assert SHIPPED["toyworld"].stat().st_size <= 8_000_000
    weights = read_weights("toyworld", {})
    assert weights.network.feature_dim == 2048
    assert {"ball", "house", "umbrella"} <= set(weights.vocabulary.classes)
    assert {"red", "striped", "small"} <= set(weights.vocabulary.attributes)
    assert replace(weights.conventions, short_side=600) != weights.conventions


def test_a_file_that_is_replaced_while_it_is_read_is_refused(tmp_path):
    path = tmp_path / "weights"
    path.write_bytes(b"before")
    with digest_while_read(path) as digest:
        assert digest == sha256_of(path)
    with pytest.raises(WeightsError, match=f"its SHA-256 was {digest} before it was read and"), digest_while_read(path):
        path.write_bytes(b"after")


def test_names_of_the_weights_own_are_not_exchanged_for_others(saved):
    own = read_weights(str(saved), {}).vocabulary
    assert load_faster_rcnn(str(saved), vocabulary=own).vocabulary == own
    others = replace(own, classes=("yolk", *own.classes[1:]))
    told = rf"vocabulary calls class 0 'yolk', weights '{saved}' have names of their own and call it 'class 0000'"
    with pytest.raises(VocabularyError, match=told):
        load_faster_rcnn(str(saved), vocabulary=others)
    with pytest.raises(VocabularyError, match=told):
        read_trainable(str(saved), others)
