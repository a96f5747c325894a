"""What readers hold in memory does not grow with their files."""

import json
import tracemalloc

from annotations.datasets.catalog import DATA_SETS
from annotations.drops import Drops


def test_memory_does_not_grow_with_the_file(tmp_path):
    """Visual Genome's descriptions are 700 MB; here 2,000 and 20,000 images are read in the same few megabytes."""
    peaks = []
    for num_images in (2000, 20_000):
        folder = tmp_path / str(num_images)
        folder.mkdir()
        with (folder / "region_descriptions.json").open("w") as file:
            regions = [
                {"region_id": n, "x": 1, "y": 2, "width": 3, "height": 4, "phrase": f"phrase {n}"} for n in range(10)
            ]
            file.write(
                "[" + ",".join(json.dumps({"id": number, "regions": regions}) for number in range(num_images)) + "]"
            )
        tracemalloc.start()
        sentences = DATA_SETS["visual-genome"].read_sentences(folder, drops=Drops())
        assert sum(1 for _ in sentences) == 10 * num_images
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # What grows is the set of image ids seen, 0.1 kB each.
    assert peaks[1] - peaks[0] < 20_000 * 250
    assert peaks[1] < 10e6


def test_a_box_of_width_and_height_gets_its_other_corner():
    assert take_box({"bbox": [1.5, 2, 10, 20]}, "bbox") == (1.5, 2.0, 11.5, 22.0)


@pytest.mark.parametrize(("width", "height"), [(0, 480), (640, -1), (1e300, 480), (640, 2**31)])
def test_a_size_that_no_image_has_is_named(width, height):
    assert take_size({"width": 640, "height": 480.0}) == (640, 480)
    with pytest.raises(FieldError, match="size is not that of an image"):
        take_size({"width": width, "height": height})
