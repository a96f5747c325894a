"""Image files as pixels: squeezed, turned, seen otherwise by what is drawn, and never silently broken."""

import numpy as np
import pytest
import torch
from PIL import Image

from stores.images.listing import SourceError
from tests.training.builders import TRUNK
from training.data.pictures import Augmentation, BrokenImageError, Pictures, augmented
from training.data.sides.cells import cell_boxes

COUNTING = np.arange(64 * 64 * 3, dtype=np.uint32).reshape(64, 64, 3) // 64 % 256


@pytest.fixture
def folder(tmp_path):
    Image.fromarray(COUNTING.astype(np.uint8)).save(tmp_path / "whole.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "whole.png").read_bytes()[:100])
    (tmp_path / "empty.jpg").write_bytes(b"")
    return tmp_path


def view(seed=0, pixels=COUNTING, **changes):
    return augmented(pixels.astype(np.uint8), 48, Augmentation(**changes), np.random.default_rng(seed))


def test_an_image_is_squeezed_as_the_detector_squeezes_it(folder):
    pictures = Pictures([str(folder)], TRUNK)
    pixels = pictures.read("whole")
    assert (pixels.dtype, pixels.shape) == (torch.uint8, (3, 48, 48))
    resized = Image.open(folder / "whole.png").resize((48, 48), Image.Resampling.BICUBIC)
    assert (pixels.permute(1, 2, 0).numpy() == np.asarray(resized)).all()
    assert pictures.size("whole") == (64, 64)
    assert pictures.image_ids == ["broken", "empty", "whole"]


@pytest.mark.parametrize(("name", "reason"), [("broken", "truncated PNG"), ("empty", "empty file")])
def test_a_broken_image_is_named_with_its_place_and_reason(folder, name, reason):
    with pytest.raises(
        BrokenImageError, match=f"image '{name}' .*{name}.*{reason}.*expected a whole picture"
    ) as caught:
        Pictures([str(folder)], TRUNK).read(name)
    assert caught.value.image_id == name


def test_the_same_images_elsewhere_have_the_same_fingerprint(folder, tmp_path_factory):
    there = tmp_path_factory.mktemp("there")
    for path in folder.iterdir():
        (there / path.name).write_bytes(path.read_bytes())
    before = Pictures([str(folder)], TRUNK).fingerprint
    assert Pictures([str(there)], TRUNK).fingerprint == before
    (there / "empty.jpg").unlink()
    assert Pictures([str(there)], TRUNK).fingerprint != before


def test_a_place_without_images_is_refused(tmp_path):
    with pytest.raises(SourceError, match="no image found"):
        Pictures([str(tmp_path)], TRUNK)


def test_without_changes_the_image_is_seen_as_it_is(folder):
    assert (view() == Pictures([str(folder)], TRUNK).read("whole")).all()


def test_what_is_seen_depends_on_what_is_drawn_alone():
    changes = {"crop": 0.5, "mirror": 0.5, "brightness": 0.3}
    views = [view(seed, **changes) for seed in (1, 1, 2)]
    assert (views[0] == views[1]).all()
    assert (views[0] != views[2]).any()


def test_a_mirrored_image_is_mirrored():
    assert (view(mirror=1.0) == view().flip(2)).all()


def test_a_crop_shows_a_part_no_smaller_than_asked_for():
    """The red of this image tells the column, the green the row."""
    ramp = np.zeros((101, 101, 3))
    ramp[..., 0], ramp[..., 1] = np.arange(101) * 2, np.arange(101)[:, None] * 2
    for seed in range(20):
        seen = view(seed, ramp, crop=0.6).numpy().astype(int)
        for channel in (seen[0], seen[1].T):
            share = (channel[:, -1] - channel[:, 0]).mean() / 200
            assert 0.55 < share <= 1


def test_brightness_stays_within_its_bounds():
    grey = np.full((8, 8, 3), 100)
    means = [view(seed, grey, brightness=0.2).float().mean().item() for seed in range(30)]
    assert min(means) >= 79
    assert max(means) <= 121
    assert max(means) - min(means) > 20


@pytest.mark.parametrize("changes", [{"crop": 0.0}, {"crop": 1.1}, {"mirror": -0.1}, {"brightness": 1.0}])
def test_augmentation_out_of_its_range_is_refused(changes):
    with pytest.raises(ValueError, match="augmentation: crop"):
        Augmentation(**changes)


def test_cells_lie_row_by_row():
    assert cell_boxes(2, 4)[[0, 3, 4]].tolist() == [[0, 0, 0.25, 0.5], [0.75, 0, 1, 0.5], [0, 0.5, 0.25, 1]]
