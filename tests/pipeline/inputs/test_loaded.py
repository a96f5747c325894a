"""What an extraction read, against what its workers read and what an older store kept of it."""

import pytest

from pipeline.extraction.extract import _remark_on_names
from pipeline.extraction.manifest import open_manifest
from pipeline.inputs.loaded import OtherInputsError, described_inputs, require_same_inputs
from stores.errors import StoreError
from stores.manifest import Manifest, write_manifest

WEIGHTS = {"name": "swin", "sha256": "a"}


def manifest(**weights):
    inputs = described_inputs("swin", {"weights": WEIGHTS | weights, "sides": (384, 384)}, None)
    return Manifest(content="grid", store="arrow", configuration=inputs)


def test_equal_inputs_are_the_same_and_others_are_named_with_both_values():
    of_run = manifest(config_sha256="b").configuration
    require_same_inputs(
        of_run, described_inputs("swin", {"weights": WEIGHTS | {"config_sha256": "b"}, "sides": [384, 384]}, None)
    )
    with pytest.raises(OtherInputsError, match=r"detector\.weights\.config_sha256 was 'b', this worker read 'c'"):
        require_same_inputs(of_run, manifest(config_sha256="c").configuration)


def test_a_store_from_before_configurations_had_digests_goes_on_as_it_is(tmp_path):
    older = manifest()
    write_manifest(tmp_path, older)
    assert open_manifest(tmp_path, manifest(config_sha256="b"), {}) == Manifest(
        content="grid",
        store="arrow",
        configuration={"detector": {"name": "swin", "weights": WEIGHTS, "sides": [384, 384]}, "given_boxes": None},
    )


def test_a_store_of_another_configuration_is_refused(tmp_path):
    write_manifest(tmp_path, manifest(config_sha256="c"))
    with pytest.raises(StoreError, match="config_sha256 was 'c', this run has 'b'"):
        open_manifest(tmp_path, manifest(config_sha256="b"), {})


def test_regions_without_names_are_remarked_on():
    named = {"detector": {"vocabulary": {"classes": ["dog"], "attributes": []}}}
    nameless = {"detector": {"vocabulary": {"classes": [], "attributes": []}}}
    (remark,) = _remark_on_names(Manifest(content="regions", store="arrow", configuration=nameless))
    assert "have no names (class_ids are -1)" in remark and "not by meaning" in remark
    assert _remark_on_names(Manifest(content="regions", store="arrow", configuration=named)) == ()
    assert _remark_on_names(Manifest(content="grid", store="arrow", configuration={"detector": {}})) == ()
