import time

import cv2
import pytest

from annotations.toyworld.world import write_toy_world


@pytest.mark.benchmark
def test_300_images_of_the_toy_world_on_one_core(tmp_path):
    num_threads = cv2.getNumThreads()
    cv2.setNumThreads(1)
    started = time.process_time()
    write_toy_world(tmp_path, num_images=300, seed=0)
    seconds = time.process_time() - started
    cv2.setNumThreads(num_threads)
    print(f"\ntoy world: 300 images in {seconds:.1f} s of one core, {300 / seconds:.0f} images/s; 20 s are allowed")
