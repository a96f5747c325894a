"""Readers of weights, settings, vocabularies and gold boxes, each with what makes a small file for it."""

import pickle

import numpy as np

from tests.fuzz.rows import Reader, write_all


def torch_file(legacy):
    def make(folder):
        import torch

        content = {"model": {"a": torch.ones(2, 3), "b": torch.zeros(1, dtype=torch.int64)}, "epoch": 3}
        torch.save(content, folder / "w", _use_new_zipfile_serialization=not legacy)

    return make


def safetensors_file(folder):
    import torch
    from safetensors.torch import save_file

    save_file({"a": torch.ones(2, 3), "b": torch.ones(1)}, folder / "w", metadata={"format": "pt"})


def read_checkpoint(folder):
    from detectors.weights.checkpoint_files import read_tensors

    for tensor in read_tensors(folder / "w").values():
        tensor.float().sum().item()


def own_weights(folder):
    from detectors.conventions import Conventions
    from detectors.networks.faster_rcnn import Architecture, FasterRCNNNetwork
    from detectors.vocabulary import numbered_vocabulary
    from detectors.weights.files import save_weights

    tiny = Architecture(blocks=(1, 1, 1, 1), width_per_group=1, num_classes=3, num_attributes=2, rpn_channels=1)
    conventions = Conventions(short_side=160)
    network = FasterRCNNNetwork(tiny, conventions)
    save_weights(folder / "w.safetensors", network, conventions, numbered_vocabulary(3, 2))


def read_own_weights(folder):
    from detectors.weights.files import read_weights

    read_weights(str(folder / "w.safetensors"), {})


CONFIG = b"""model: {pixel_mean: [1, 2, 3], max_pool: true}
input: {min_size_test: 600, format: BGR}
roi_heads: {nms_thresh_test: [0.3]}
"""


def read_config(folder):
    from detectors.weights.published_config import read_settings

    read_settings(folder / "config.yaml")


def read_names(folder):
    from detectors.vocabulary import read_vocabulary

    read_vocabulary(folder)


def gold_boxes(folder):
    from detectors.gold_boxes import GoldBoxes

    GoldBoxes(
        image_ids=np.array(["1", "22"]),
        sides=np.ones((2, 2), np.int32),
        is_val=np.zeros(2, np.bool_),
        first_box=np.array([0, 1, 2]),
        boxes_xyxy=np.ones((2, 4), np.float32),
        class_rows=np.ones(2, np.int32),
        first_attribute=np.array([0, 1, 1]),
        attribute_rows=np.ones(1, np.int32),
    ).save(folder / "gold.npz")


def read_gold_boxes(folder):
    from detectors.gold_boxes import GoldBoxes

    gold = GoldBoxes.load(folder / "gold.npz")
    for number in range(len(gold)):
        gold.image(number)


DETECTORS = {
    "checkpoint as a pickle": Reader(
        make=write_all(w=pickle.dumps({"model": {"a": np.ones((2, 3)), "b": np.float32(1)}, "epoch": 3}, protocol=2)),
        read=read_checkpoint,
    ),
    "checkpoint of torch": Reader(make=torch_file(legacy=False), read=read_checkpoint),
    "checkpoint of torch before 1.6": Reader(make=torch_file(legacy=True), read=read_checkpoint),
    "checkpoint as safetensors": Reader(make=safetensors_file, read=read_checkpoint),
    "our own weights": Reader(make=own_weights, read=read_own_weights),
    "config.yaml": Reader(make=write_all(config__yaml=CONFIG), read=read_config),
    "vocabulary": Reader(
        make=write_all(objects_vocab__txt=b"dog\nstop sign,stopsign\n", attributes_vocab__txt=b"red\n"),
        read=read_names,
    ),
    "gold boxes": Reader(make=gold_boxes, read=read_gold_boxes),
}
