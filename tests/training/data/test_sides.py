"""Regions, grids and files as the image side of a batch: by position, each read once, with the same fields."""

import numpy as np
import pytest
import torch

from stores.image_index import ImageIndex
from stores.reading import open_store
from tests.training.builders import TRUNK
from tests.training.pixel_stores import pixel_stores
from training.data.pictures import Pictures
from training.data.sides.opening import open_side


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    return pixel_stores(tmp_path_factory.mktemp("stores") / "pixels", num_images=6)


@pytest.fixture(params=["regions", "grids", "images"])
def side(request, stores):
    images = Pictures([str(stores.images)], TRUNK) if request.param == "images" else getattr(stores, request.param)
    opened = open_side(images)
    assert opened.noun == request.param
    yield opened
    opened.close()


def recorded(side, images):
    return side.counts(np.array([len(side.regions(image).boxes_xyxy) for image in images], np.int32)).tolist()


def test_every_side_has_the_fields_of_its_images_in_their_order(side):
    images = [3, 0, 3]
    counts = recorded(side, images)
    fields = side.fields(images, counts)
    assert fields.region_mask.sum(1).tolist() == counts
    assert torch.equal(fields.boxes[0], fields.boxes[2])
    for row, image in enumerate(images):
        record = side.regions(image)
        assert record.image_id == side.image_ids[image]
        width, height = side.size(image)
        assert (width, height) == (record.image_width, record.image_height)
        boxes = record.boxes_xyxy / np.array([width, height] * 2, np.float32)
        np.testing.assert_allclose(fields.boxes[row, : counts[row]].numpy(), boxes, atol=1e-6)
        assert fields.features[row, : counts[row]].numpy().tolist() == record.features.tolist()


def test_fields_of_some_pairs_are_those_of_their_images_alone(side):
    counts = recorded(side, [3, 0, 3, 5])
    some = side.fields([3, 0, 3, 5], counts).take(torch.tensor([3, 1]))
    alone = side.fields([5, 0], counts[3:] + counts[1:2])
    assert some.tensors().keys() == alone.tensors().keys()
    shown = {name: values for name, values in alone.tensors().items() if name not in ("pixels", "image_rows")}
    assert all(torch.equal(some.tensors()[name], values) for name, values in shown.items())
    if some.pixels is not None:
        assert torch.equal(some.pixels[some.image_rows], alone.pixels[alone.image_rows])


def test_an_image_is_read_by_its_position_and_not_looked_for(side, monkeypatch):
    counts = recorded(side, [2, 1])
    monkeypatch.setattr(ImageIndex, "find", lambda *_: pytest.fail("looked for"))
    side.fields([2, 1], counts)


def test_a_grid_is_read_once_for_a_batch(stores, monkeypatch):
    side = open_side(stores.grids)
    read, real = [], side.store.at
    monkeypatch.setattr(side.store, "at", lambda position: (read.append(position), real(position))[1])
    fields = side.fields([4, 2], [12, 12])
    assert read == [4, 2]
    assert fields.visual_attention.shape == (2, 12, 12)


def test_a_store_s_images_by_position_are_those_by_id(stores):
    with open_store(stores.regions) as store:
        for position, image_id in enumerate(store.image_ids):
            assert store.at(position).features.tolist() == store.get(image_id).features.tolist()
