"""Our C4 network against detectron2's with the same weights, images and number of proposals, in turns.

On a GPU also against its mixed precision, batched, with each run's peak memory, and our selection on the device beside
that on the host. float32 is as torch has it, on a GPU with convolutions in TF32, for both. On a CPU our batch-1 runs
come a second time, with freed memory kept as extraction's workers keep it.
"""

import ctypes
import importlib.util
import time
from unittest import mock

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from detectors import faster_rcnn
from detectors.records import DecodedImage
from detectors.selection.batches import select_batch
from detectors.vocabulary import numbered_vocabulary
from detectors.weights.files import load_faster_rcnn
from pipeline.judging.bench import device_rate
from tests.benchmarks.scale import scaled

HAS_DETECTRON2 = importlib.util.find_spec("detectron2") is not None
STDS = (30000.0, 30000.0, 30000.0)  # untrained trunks, without norms that hold them, make maps of ones from these
ROUNDS = scaled(full=5, tiny=1)
NUM_IMAGES = scaled(full={"cpu": 3, "cuda": 16}, tiny={"cpu": 1, "cuda": 1})
SHORT_SIDE = scaled(full=600, tiny=120)
THEIRS = "detectron2, batch 1, float32"


def theirs_and_its_weights(path):
    """detectron2's ResNet-101 C4 with bottom-up-attention's sizes: 1600 classes, 300 proposals, 600 pixels."""
    from detectron2 import model_zoo
    from detectron2.config import get_cfg
    from detectron2.modeling import build_model

    settings = get_cfg()
    settings.merge_from_file(model_zoo.get_config_file("COCO-Detection/faster_rcnn_R_101_C4_3x.yaml"))
    settings.MODEL.DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
    settings.MODEL.PIXEL_STD = list(STDS)
    settings.MODEL.ROI_HEADS.NUM_CLASSES = 1600
    settings.MODEL.RPN.POST_NMS_TOPK_TEST = 300
    settings.MODEL.ROI_HEADS.NMS_THRESH_TEST = 0.3
    torch.manual_seed(0)
    model = build_model(settings).eval()
    for name, parameter in model.named_parameters():
        if "rpn_head" in name or "box_predictor" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    torch.save({"model": model.state_dict()}, path)
    return model


def ours(path, precision, device):
    return load_faster_rcnn(
        str(path),
        overrides={
            "short_side": str(SHORT_SIDE), "long_side": "1000", "rpn_after_nms": "300", "nms_threshold": "0.3",
            "pixel_stds": ",".join(map(str, STDS)),
        },
        precision=precision,
        device=device,
        vocabulary=numbered_vocabulary(1600, 0),
    )  # fmt: skip


def on_the_host(boxes, scores, rules, *, at_once):
    return select_batch(boxes, scores, rules, at_once=False)


def walked(call):
    """Return a call that selects regions image by image on the host, as a CPU does."""

    def called():
        with mock.patch.object(faster_rcnn, "select_batch", on_the_host):
            call()

    return called


def in_autocast(dtype, call):
    def called():
        with torch.autocast("cuda", dtype):
            call()

    return called


def keeping_memory(call):
    """Return a call during which the allocator is told what extraction's workers tell theirs."""

    def called():
        c_library = ctypes.CDLL(None)
        for parameter, value in ((-4, 0), (-1, 2**31 - 1)):  # M_MMAP_MAX, M_TRIM_THRESHOLD of mallopt(3)
            c_library.mallopt(parameter, value)
        call()

    return called


def giving_memory_back():
    """The allocator is as it was."""
    c_library = ctypes.CDLL(None)
    for parameter, value in ((-4, 65536), (-1, 128 << 10)):
        c_library.mallopt(parameter, value)
    c_library.malloc_trim(0)


def measured(call, device):
    """Return seconds, and MiB of the device's memory at most; 0 for a CPU's."""
    if device.type == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    started = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    seconds = time.perf_counter() - started
    return seconds, torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else 0.0


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not HAS_DETECTRON2, reason="detectron2 is not installed; PyPI has none")
@torch.inference_mode()
def test_beside_detectron2(tmp_path):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precisions = ("float32", "bfloat16", "float16") if device.type == "cuda" else ("float32", "bfloat16")
    path = tmp_path / "model_final.pth"
    model = theirs_and_its_weights(path)
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (NUM_IMAGES[device.type], 60, 80, 3), np.uint8)
    images = [
        DecodedImage(image_id=str(number), pixels_rgb=np.ascontiguousarray(np.kron(each, np.ones((8, 8, 1), np.uint8))))
        for number, each in enumerate(small)
    ]
    detectors = {precision: ours(path, precision, device) for precision in precisions}
    prepared = [detectors["float32"].prepare(image) for image in images]
    means = torch.tensor(detectors["float32"].conventions.pixel_means)[:, None, None]
    examples = [{"image": each.model_input * STDS[0] + means, "height": 480, "width": 640} for each in prepared]
    runs = {THEIRS: lambda: [model([each]) for each in examples]}
    if device.type == "cuda":
        for dtype in (torch.float16, torch.bfloat16):
            runs[f"detectron2, batched, AMP {dtype}"] = in_autocast(dtype, lambda: model(examples))
    for precision, detector in detectors.items():
        runs[f"ours, batch 1, {precision}"] = lambda detector=detector: [detector.detect([each]) for each in prepared]
        runs[f"ours, batched, {precision}"] = lambda detector=detector: detector.detect(prepared)
    if device.type == "cuda":
        runs["ours, batched, bfloat16, host selects"] = walked(lambda: detectors["bfloat16"].detect(prepared))
    else:
        for precision in precisions:
            runs[f"ours, batch 1, {precision}, kept memory"] = keeping_memory(runs[f"ours, batch 1, {precision}"])
    for call in runs.values():
        for _ in range(2):  # the second finds memory that the first has asked for
            call()
    times, peaks = {name: [] for name in runs}, dict.fromkeys(runs, 0.0)
    for _ in range(ROUNDS):
        giving_memory_back()
        for name, call in runs.items():
            if "kept" in name:
                call()  # finds the memory that the next ones keep
            seconds, peaks[name] = measured(call, device)
            times[name].append(seconds / len(images))
    units = [name for name, has in torch.cpu.get_capabilities().items() if has is True and "bf16" in name]
    threads = f"a CPU's {torch.get_num_threads()} threads with {units}"
    where = torch.cuda.get_device_name() if device.type == "cuda" else threads
    height, width = prepared[0].model_input.shape[1:]
    print(f"\n{len(images)} images of {height} x {width}, 300 proposals, 1600 classes, {where}")
    rivals = [THEIRS, *(name for name in runs if "AMP" in name)]
    print(f"  {'':40} images/s   times {' / times '.join(rivals)}")
    for name, each in times.items():
        ratios = "   ".join(ratio(times[rival], each) for rival in rivals)
        memory = f"   {peaks[name]:6.0f} MiB" if device.type == "cuda" else ""
        print(f"  {name:40} {1 / np.median(each):8.3f}   {ratios}{memory}")
    for precision, detector in detectors.items():
        with FlopCounterMode(display=False) as counter:
            detector.detect(prepared[:1])
        gigaflops, rate = counter.get_total_flops() / 1e9, device_rate(device, precision)
        share = gigaflops / np.median(times[f"ours, batched, {precision}"]) / rate
        print(f"  {precision}: {gigaflops:.0f} GFLOP an image, {share:.0%} of {rate:.0f} GFLOP/s in matrix products")
    (found,) = detectors["float32"].detect(prepared[:1])
    assert found.num_boxes == 36


def ratio(theirs, mine):
    """Return the median of what was measured in turns, with the least and the most."""
    ratios = sorted(one / other for one, other in zip(theirs, mine, strict=True))
    return f"{ratios[len(ratios) // 2]:5.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
