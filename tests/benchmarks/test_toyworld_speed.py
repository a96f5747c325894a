import time

import cv2
import pytest

from annotations.toyworld.world import write_toy_world
from tests.benchmarks.scale import scaled

NUM_IMAGES = scaled(full=300, tiny=4)


@pytest.mark.benchmark
def test_images_of_the_toy_world_on_one_core(tmp_path):
    num_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    started = time.process_time()
    write_toy_world(tmp_path, num_images=NUM_IMAGES, seed=0)
    seconds = time.process_time() - started
    cv2.setNumThreads(num_threads)
    print(
        f"\ntoy world: {NUM_IMAGES} images in {seconds:.1f} s of one core, {NUM_IMAGES / seconds:.0f} images/s; "
        "300 may take 20 s"
    )
