"""Files of images as alignment sees them: found by any name of the photograph, with the size of the upright picture."""

import tarfile

import pytest
from PIL import ExifTags, Image

from annotations.records import SentenceImage
from stores.images.layouts import PictureLayouts
from stores.images.listing import list_images
from stores.numbering import Numbering, join


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 8
    Image.new("RGB", (30, 20)).save(folder / "COCO_val2014_000000000009.jpg")
    Image.new("RGB", (30, 20)).save(folder / "turned.jpg", exif=turned)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    return folder


def size_of(layouts, image_id, coco_id=""):
    joined = join(SentenceImage(image_id=image_id, coco_id=coco_id), layouts, Numbering())
    found = joined and joined.layout
    return found and (found.image_id, found.width, found.height, len(found.boxes_xyxy), len(found.class_ids))


@pytest.mark.parametrize("in_tar", [False, True])
def test_an_image_is_found_by_any_name_of_its_photograph_and_has_no_regions(photos, in_tar):
    place = photos
    if in_tar:
        place = photos.parent / "photos.tar"
        with tarfile.open(place, "w") as archive:
            archive.add(photos, "photos")
    layouts = PictureLayouts(list_images([str(place)]).images)
    name = "COCO_val2014_000000000009"
    assert size_of(layouts, name) == size_of(layouts, "2370000", coco_id="9") == (name, 30, 20, 0, 0)
    assert size_of(layouts, "turned") == ("turned", 20, 30, 0, 0)
    assert size_of(layouts, "absent") is None
    assert size_of(layouts, "broken") is None


def test_sizes_that_were_forgotten_are_read_again(photos, monkeypatch):
    monkeypatch.setattr("stores.images.layouts.MAX_KEPT", 1)
    layouts = PictureLayouts(list_images([str(photos)]).images)
    for _ in range(2):
        assert size_of(layouts, "turned") == ("turned", 20, 30, 0, 0)
        assert size_of(layouts, "broken") is None
