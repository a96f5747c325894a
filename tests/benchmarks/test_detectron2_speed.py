"""Our C4 network against detectron2's with the same weights, images and number of proposals, in turns."""

import importlib.util
import time

import numpy as np
import pytest
import torch

from detectors.records import DecodedImage
from detectors.vocabulary import numbered_vocabulary
from detectors.weights import load_faster_rcnn

HAS_DETECTRON2 = importlib.util.find_spec("detectron2") is not None
STDS = (30000.0, 30000.0, 30000.0)  # untrained trunks, without norms that hold them, make maps of ones from these
ROUNDS = 5


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
            "short_side": "600", "long_side": "1000", "rpn_after_nms": "300", "nms_threshold": "0.3",
            "pixel_stds": ",".join(map(str, STDS)),
        },
        precision=precision,
        device=device,
        vocabulary=numbered_vocabulary(1600, 0),
    )  # fmt: skip


def seconds(call):
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    call()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


@pytest.mark.benchmark
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not HAS_DETECTRON2, reason="detectron2 is not installed; PyPI has none")
@torch.inference_mode()
def test_beside_detectron2(tmp_path):
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    path = tmp_path / "model_final.pth"
    model = theirs_and_its_weights(path)
    generator = np.random.default_rng(0)
    small = generator.integers(0, 256, (3, 60, 80, 3), np.uint8)
    images = [
        DecodedImage(image_id=str(number), pixels_rgb=np.ascontiguousarray(np.kron(each, np.ones((8, 8, 1), np.uint8))))
        for number, each in enumerate(small)
    ]
    detectors = {precision: ours(path, precision, device) for precision in ("float32", "bfloat16")}
    prepared = [detectors["float32"].prepare(image) for image in images]
    means = torch.tensor(detectors["float32"].conventions.pixel_means)[:, None, None]
    examples = [{"image": each.model_input * STDS[0] + means, "height": 480, "width": 640} for each in prepared]
    runs = {"detectron2, batch 1, float32": lambda: [model([each]) for each in examples]}
    if device.type == "cuda":

        def batched():
            with torch.autocast("cuda"):
                model(examples)

        runs["detectron2, batched, AMP"] = batched
    for precision, detector in detectors.items():
        runs[f"ours, batch 1, {precision}"] = lambda detector=detector: [detector.detect([each]) for each in prepared]
        runs[f"ours, batched, {precision}"] = lambda detector=detector: detector.detect(prepared)
    for call in runs.values():
        call()
    times = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, call in runs.items():
            times[name].append(seconds(call) / len(images))
    base = times["detectron2, batch 1, float32"]
    units = [name for name, has in torch.cpu.get_capabilities().items() if has is True and "bf16" in name]
    print(f"\n{len(images)} images of 600 x 800, 300 proposals, 1600 classes, {device}, bf16 units {units}")
    for name, each in times.items():
        ratios = sorted(theirs / mine for theirs, mine in zip(base, each, strict=True))
        print(
            f"  {name:32} {1 / np.median(each):7.3f} images/s   {ratios[len(ratios) // 2]:5.2f} x "
            f"({ratios[0]:.2f} to {ratios[-1]:.2f})"
        )
    if device.type == "cuda":
        print(f"  peak memory {torch.cuda.max_memory_allocated() / 2**30:.2f} GiB")
    (found,) = detectors["float32"].detect(prepared[:1])
    assert found.num_boxes == 36
