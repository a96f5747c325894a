"""Published checkpoints: each layout written with random tensors, and read as the detector it was."""

import pickle
import resource
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch
import yaml
from torchvision.models import resnet50
from torchvision.models.detection import fasterrcnn_resnet50_fpn, fasterrcnn_resnet50_fpn_v2

from detectors.faster_rcnn import FasterRCNNDetector
from detectors.networks.anchors import caffe_anchors, exact_anchors
from detectors.networks.faster_rcnn import Architecture, FasterRCNNNetwork
from detectors.records import DecodedImage
from detectors.vocabulary import numbered_vocabulary, read_vocabulary
from detectors.weights.files import WeightsError, load_faster_rcnn, read_trainable, read_weights
from detectors.weights.published import CAFFE, CONVERTED, ZOO

SHAPE = Architecture(
    blocks=(1, 2, 1, 1),
    width_per_group=8,
    num_classes=7,
    num_attributes=5,
    rpn_channels=512,
    anchors=exact_anchors((64, 128, 256, 512)),
    class_embedding_dim=6,
    attribute_hidden_dim=9,
)
TORCHS_OWN = {"res2": "backbone.res2", "res3": "backbone.res3", "res4": "backbone.res4", "res5": "roi_heads.res5"}


def random_network(shape=SHAPE, conventions=CONVERTED):
    torch.manual_seed(0)
    network = FasterRCNNNetwork(shape, conventions).eval()
    for name, buffer in network.named_buffers():
        buffer.uniform_(0.5, 1.5) if name.endswith("var") else buffer.normal_(1.0, 0.1)
    torch.nn.init.normal_(network.proposals.head.objectness.weight, std=0.1)
    torch.nn.init.normal_(network.bbox_pred.weight, std=0.01)
    return network


def as_detectron2(network, *, background_last=True):
    """Return the network's tensors under detectron2's names, as its authors describe the model."""
    ours, theirs = network.state_dict(), {}
    norms = ("weight", "bias", "running_mean", "running_var")
    theirs["backbone.stem.conv1.weight"] = ours["stem.0.weight"]
    theirs |= {f"backbone.stem.conv1.norm.{each}": ours[f"stem.1.{each}"] for each in norms}
    for stage, name in TORCHS_OWN.items():
        for block in range(len(getattr(network, stage))):
            start, end = f"{stage}.{block}", f"{name}.{block}"
            for number in (1, 2, 3):
                theirs[f"{end}.conv{number}.weight"] = ours[f"{start}.conv{number}.weight"]
                theirs |= {f"{end}.conv{number}.norm.{each}": ours[f"{start}.bn{number}.{each}"] for each in norms}
            if f"{start}.downsample.0.weight" in ours:
                theirs[f"{end}.shortcut.weight"] = ours[f"{start}.downsample.0.weight"]
                theirs |= {f"{end}.shortcut.norm.{each}": ours[f"{start}.downsample.1.{each}"] for each in norms}
    for kind in ("weight", "bias"):
        head = "proposal_generator.rpn_head"
        theirs[f"{head}.conv.{kind}"] = ours[f"proposals.head.conv.{kind}"]
        theirs[f"{head}.objectness_logits.{kind}"] = ours[f"proposals.head.objectness.{kind}"]
        theirs[f"{head}.anchor_deltas.{kind}"] = ours[f"proposals.head.deltas.{kind}"]
    predictor = "roi_heads.box_predictor"
    for name in ("cls_score", "bbox_pred", "cls_embedding", "fc_attr", "attr_score"):
        for kind in ("weight", "bias"):
            if f"{name}.{kind}" not in ours:
                continue
            rows = ours[f"{name}.{kind}"]
            if background_last and name in ("cls_score", "cls_embedding", "attr_score"):
                rows = torch.cat([rows[1:], rows[:1]])
            if background_last and name == "bbox_pred":
                rows = rows[4:]
            theirs[f"{predictor}.{name}.{kind}"] = rows
    return {name: tensor.clone() for name, tensor in theirs.items()}


def as_bua(network):
    """Return the tensors as bottom-up-attention.pytorch has them: background first, two logits an anchor."""
    theirs = as_detectron2(network, background_last=False)
    renamed = {"cls_embedding": "cls_embed", "fc_attr": "attr_linear1", "attr_score": "attr_linear2"}
    for ours, name in renamed.items():
        for key in [key for key in theirs if f".{ours}." in key]:
            theirs[key.replace(ours, name)] = theirs.pop(key)
    for kind in ("weight", "bias"):
        key = f"proposal_generator.rpn_head.objectness_logits.{kind}"
        background = torch.randn_like(theirs[key])
        theirs[key] = torch.cat([background, background + theirs[key]])
    return theirs


def detect(network, conventions, image):
    network.optimise(torch.float32, torch.device("cpu"))
    detector = FasterRCNNDetector(
        network=network, conventions=conventions, vocabulary=numbered_vocabulary(7, 5), weights={"name": "test"}
    )
    return detector.detect([detector.prepare(image)])[0]


@pytest.fixture(scope="module")
def image():
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    return DecodedImage(image_id="a", pixels_rgb=np.repeat(np.repeat(pixels, 2, 0), 2, 1))


def small(conventions):
    return replace(conventions, short_side=160, long_side=240)


def write_pickle(path, tensors):
    content = {"model": {name: tensor.numpy() for name, tensor in tensors.items()}, "__author__": "someone"}
    path.write_bytes(pickle.dumps(content, protocol=2))


def assert_same_regions(found, expected, atol=1e-2):
    np.testing.assert_allclose(found.boxes_xyxy, expected.boxes_xyxy, atol=atol)
    np.testing.assert_allclose(found.features.astype(float), expected.features.astype(float), atol=2e-3, rtol=2e-3)
    assert found.class_ids.tolist() == expected.class_ids.tolist()
    assert found.attribute_ids.tolist() == expected.attribute_ids.tolist()


OVERRIDES = {"short_side": "160", "long_side": "240"}


def test_a_pickle_converted_from_caffe_is_the_network_it_was(tmp_path, image):
    path = tmp_path / "faster_rcnn_from_caffe_attr.pkl"
    write_pickle(path, as_detectron2(random_network()))
    read = read_weights(str(path), OVERRIDES)
    assert read.conventions == small(CONVERTED)
    assert read.network.architecture == SHAPE
    assert read.identity["layout"] == "bottom-up-attention converted to detectron2"
    assert (read.num_classes, read.num_attributes, read.vocabulary) == (7, 5, None)
    assert_same_regions(
        detect(read.network, read.conventions, image), detect(random_network(), small(CONVERTED), image)
    )


def test_without_attributes_regions_have_none(tmp_path, image):
    path = tmp_path / "faster_rcnn_from_caffe.pkl"
    write_pickle(path, as_detectron2(random_network(replace(SHAPE, num_attributes=0))))
    regions = detect(*of(read_weights(str(path), OVERRIDES)), image)
    assert set(regions.attribute_ids.tolist()) == {-1} and set(regions.attribute_scores.tolist()) == {0.0}
    assert regions.features.shape == (36, 2048)


def of(read):
    return read.network, read.conventions


@pytest.mark.parametrize("with_anchors", [False, True])
def test_bottom_up_attention_in_torch_is_the_network_it_was(tmp_path, image, with_anchors):
    shape = replace(SHAPE, anchors=caffe_anchors((4, 8, 16, 32)))
    tensors = as_bua(random_network(shape, CAFFE))
    if with_anchors:
        shape = replace(shape, anchors=shape.anchors[::-1])
        tensors["proposal_generator.anchor_generator.cell_anchors.0"] = torch.tensor(shape.anchors)
    path = tmp_path / "bua-caffe-frcn-r101-k36.pth"
    torch.save({"model": tensors, "iteration": 7, "optimizer": {"lr": 0.1}}, path)
    read = read_weights(str(path), OVERRIDES)
    assert read.conventions == small(CAFFE)
    assert read.network.architecture == shape
    expected = random_network(shape, CAFFE)
    assert_same_regions(detect(*of(read), image), detect(expected, small(CAFFE), image))


def test_a_faster_rcnn_of_hugging_face_follows_its_configuration(tmp_path, image):
    torch.save(as_detectron2(random_network()), tmp_path / "pytorch_model.bin")
    config = {
        "model": {"pixel_mean": [1.0, 2.0, 3.0], "pixel_std": [1.0, 1.0, 1.0], "max_pool": True},
        "INPUT": {"MIN_SIZE_TEST": 160, "MAX_SIZE_TEST": 240, "format": "BGR"},
        "rpn": {"post_nms_topk_test": 200, "nms_thresh": 0.6},
        "roi_heads": {"nms_thresh_test": [0.4, 0.5]},
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    for name in (tmp_path, tmp_path / "pytorch_model.bin"):
        read = read_weights(str(name), {"confidence": "0.3"})
        assert read.conventions == replace(
            small(CONVERTED),
            pixel_means=(1.0, 2.0, 3.0), rpn_after_nms=200, rpn_nms_threshold=0.6, nms_threshold=0.4,
            resize="half-up", confidence=0.3,
        )  # fmt: skip
    assert_same_regions(
        detect(*of(read), image), detect(random_network(SHAPE, read.conventions), read.conventions, image)
    )


def test_a_model_of_the_zoo_names_coco_and_leaves_masks_behind(tmp_path):
    shape = replace(
        SHAPE, num_classes=80, num_attributes=0, rpn_channels=1024, anchors=exact_anchors((32, 64, 128, 256, 512))
    )
    tensors = as_detectron2(random_network(shape, ZOO))
    tensors["roi_heads.mask_head.deconv.weight"] = torch.zeros(3)
    path = tmp_path / "model_final_f97cb7.pkl"
    write_pickle(path, tensors)
    read = read_weights(str(path), {})
    assert read.conventions == ZOO and read.network.architecture.anchors == shape.anchors
    assert (read.vocabulary.classes[0], read.vocabulary.classes[-1]) == ("person", "toothbrush")


@pytest.mark.parametrize("build", [fasterrcnn_resnet50_fpn, fasterrcnn_resnet50_fpn_v2])
def test_a_pyramid_of_torchvision_detects_what_torchvision_detects(tmp_path, build):
    torch.manual_seed(0)
    theirs = build(weights=None, weights_backbone=None, min_size=160, max_size=240, box_score_thresh=-1.0).eval()
    torch.nn.init.normal_(theirs.roi_heads.box_predictor.cls_score.weight, std=0.3)
    tensors = {name: each for name, each in theirs.state_dict().items() if not name.endswith("num_batches_tracked")}
    torch.save(tensors, tmp_path / "fasterrcnn.pth")
    detector = load_faster_rcnn(str(tmp_path / "fasterrcnn.pth"), overrides=OVERRIDES, precision="float32")
    assert detector.vocabulary.classes[0] == "person" and detector.network.feature_dim == 1024
    pixels = np.random.default_rng(0).integers(0, 256, (110, 150, 3), np.uint8)
    prepared = detector.prepare(DecodedImage(image_id="a", pixels_rgb=pixels))
    as_theirs, _ = theirs.transform([torch.from_numpy(pixels).permute(2, 0, 1) / 255])
    height, width = as_theirs.image_sizes[0]
    assert prepared.model_input.shape == (3, height, width)
    torch.testing.assert_close(prepared.model_input, as_theirs.tensors[0, :, :height, :width], atol=2e-4, rtol=0)
    if build is fasterrcnn_resnet50_fpn:
        from torchvision.models.detection._utils import overwrite_eps

        overwrite_eps(theirs, 0.0)  # as where torchvision itself loads published weights
    with torch.inference_mode():
        maps = theirs.backbone(as_theirs.tensors)
        proposals, _ = theirs.rpn(as_theirs, maps)
        pooled = theirs.roi_heads.box_roi_pool(maps, proposals, as_theirs.image_sizes)
        expected = theirs.roi_heads.box_head(pooled)
        found_maps = detector.network.feature_map(prepared.model_input[None])
        (found,) = detector.network.propose(prepared.model_input[None], found_maps, [1.0], 36)
        # Of proposals whose logits are nearly tied the last bit decides which is first, and which of two NMS keeps.
        near = torch.cdist(proposals[0], found, p=torch.inf).min(dim=1).values < 0.05
        assert len(found) == len(proposals[0]) and near.float().mean() > 0.98
        features = detector.network.region_features(found_maps, [proposals[0]])
        torch.testing.assert_close(features, expected, atol=2e-3, rtol=2e-3)
    (regions,) = detector.detect([prepared])
    assert regions.features.shape == (36, 1024)


def test_published_names_must_be_told(tmp_path):
    path = tmp_path / "w.pkl"
    write_pickle(path, as_detectron2(random_network()))
    with pytest.raises(WeightsError, match="do not name their 7 classes and 5 attributes; give --vocabulary"):
        load_faster_rcnn(str(path))
    with pytest.raises(
        WeightsError, match=r"vocabulary has \(8, 5\) classes and attributes, the weights expect \(7, 5\)"
    ):
        load_faster_rcnn(str(path), vocabulary=numbered_vocabulary(8, 5))
    assert load_faster_rcnn(str(path), vocabulary=numbered_vocabulary(7, 5)).vocabulary == numbered_vocabulary(7, 5)
    write_pickle(path, as_detectron2(random_network(replace(SHAPE, num_attributes=0))))
    (tmp_path / "objects_vocab.txt").write_text("\n".join(numbered_vocabulary(7, 0).classes))
    assert load_faster_rcnn(str(path), vocabulary=read_vocabulary(tmp_path)).vocabulary == numbered_vocabulary(7, 0)


def test_half_precision_is_read_as_single(tmp_path, image):
    tensors = {name: each.half() for name, each in as_detectron2(random_network()).items()}
    torch.save(tensors, tmp_path / "half.pth")
    read = read_weights(str(tmp_path / "half.pth"), OVERRIDES)
    assert {each.dtype for each in read.network.parameters()} == {torch.float32}
    assert detect(*of(read), image).features.shape == (36, 2048)


def test_what_is_missing_left_over_or_of_another_shape_is_listed_in_the_files_own_names(tmp_path):
    tensors = as_detectron2(random_network())
    path = tmp_path / "w.pth"
    torch.save({**tensors, "roi_heads.box_predictor.rel_score.weight": torch.zeros(2)}, path)
    with pytest.raises(WeightsError, match=r"left-over tensors \['roi_heads.box_predictor.rel_score.weight'\]"):
        read_weights(str(path), {})
    gone = "backbone.res3.1.conv2.norm.running_var"
    torch.save({name: each for name, each in tensors.items() if name != gone}, path)
    with pytest.raises(WeightsError, match=rf"w.pth': missing tensors \['{gone}'\]"):
        read_weights(str(path), {})
    torch.save({**tensors, "backbone.stem.conv1.weight": torch.zeros(64, 3, 3, 3)}, path)
    with pytest.raises(WeightsError, match=r"stem.conv1.weight is \[64, 3, 3, 3\], expected \[64, 3, 7, 7\]"):
        read_weights(str(path), {})


class Harm:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("suffix", [".pkl", ".pth", "-old.pth"])
def test_a_checkpoint_that_would_run_something_is_refused_and_nothing_runs(tmp_path, suffix):
    path, harmed = tmp_path / f"w{suffix}", tmp_path / "harmed"
    content = {"model": {"a": torch.zeros(1), "b": Harm(harmed)}}
    if suffix == ".pkl":
        path.write_bytes(pickle.dumps({"model": {"b": Harm(harmed)}}))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=suffix == ".pth")
    with pytest.raises(WeightsError, match="nothing of it was run"):
        read_weights(str(path), {})
    assert not harmed.exists()


class Pointer:
    """A dtype whose state makes numbers into pointers to objects, and a number of it that points anywhere."""

    def __reduce__(self):
        dtype = np.dtype("O8")
        return np.float64(0).__reduce__()[0], (dtype, b"AAAAAAAA")


def test_numbers_that_would_be_pointers_are_refused(tmp_path):
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"model": {"a": Pointer()}}))
    with pytest.raises(WeightsError, match="not a whole pickle of plain values"):
        read_weights(str(tmp_path / "w.pkl"), {})


def test_old_files_of_several_maps_hold_anchors_of_no_use(tmp_path):
    tensors = as_detectron2(random_network())
    anchors = {f"proposal_generator.anchor_generator.cell_anchors.{level}": torch.ones(12, 4) for level in (0, 1)}
    torch.save(tensors | anchors, tmp_path / "w.pth")
    assert read_weights(str(tmp_path / "w.pth"), {}).network.architecture.anchors == ((1.0,) * 4,) * 12


@pytest.mark.parametrize("kind", ["pickle", "torch", "legacy", "safetensors"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_a_truncated_checkpoint_says_so(tmp_path, kind, share):
    from safetensors.torch import save_file

    path, tensors = tmp_path / "w", as_detectron2(random_network())
    if kind == "pickle":
        write_pickle(path, tensors)
    elif kind == "safetensors":
        save_file(tensors, path)
    else:
        torch.save(tensors, path, _use_new_zipfile_serialization=kind == "torch")
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(WeightsError, match=r"damaged or cut off|neither safetensors|not a whole pickle"):
        read_weights(str(path), {})


class Call:
    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


def expanded(shape):
    """Return a tensor of one number that says it is of this shape."""
    return torch.zeros(1).expand(shape)


def zipped_by(method, path):
    torch.save({"a": torch.zeros(10_000)}, path)
    with zipfile.ZipFile(path) as stored:
        contents = {each.filename: stored.read(each) for each in stored.infolist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in contents.items():
            archive.writestr(name, content)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b"\x80\x02K\x01r\xff\xff\xff\x1f."), "no tensors; the file holds a int"),
        (lambda path: path.write_bytes(pickle.dumps({"a": Call(bytearray, 3_000_000_000)})), "bytes of a int"),
        (lambda path: torch.save({"a": Call(bytearray, 3_000_000_000)}, path), "nothing of it was run .*bytearray"),
        (
            lambda path: torch.save({"a": Call(bytearray, 1 << 32)}, path, _use_new_zipfile_serialization=False),
            "nothing of it was run .*bytearray",
        ),
        (lambda path: torch.save({"a": Call(torch.Tensor, 1 << 32)}, path), "nothing of it was run .*Tensor"),
        (lambda path: torch.save({"a": expanded((1 << 20, 1 << 20))}, path), "more numbers than the file has of it"),
        (lambda path: torch.save({"a": torch.eye(3).to_sparse()}, path), "nothing of it was run .*sparse"),
        (lambda path: zipped_by(zipfile.ZIP_DEFLATED, path), "is compressed in it"),
    ],
)
def test_no_room_is_made_for_what_a_checkpoint_only_claims(tmp_path, write, message):
    path = tmp_path / "w"
    write(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError, match=message):
        read_weights(str(path), {})
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB


def test_a_checkpoint_may_hold_itself(tmp_path):
    content = {}
    content["model"] = content
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="no tensors; the file holds a mapping of 'model'"):
        read_weights(str(tmp_path / "w.pth"), {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"layer1.0.conv2.weight": torch.zeros(1)}, "a ResNet without a detector's heads; vinculum-train detector"),
        ({"backbone.fpn_lateral2.weight": torch.zeros(1)}, "run it with --detector detectron2"),
        ({"backbone.stem.norm.weight": torch.zeros(1)}, "ResNet-152 whose norms stand before"),
        ({"a.b": torch.zeros(1)}, "names such as a.b are of no known layout; known: ours, bottom-up-attention"),
        ({"a": torch.tensor(float("nan"))}, "not finite: a"),
        ({"epoch": 3}, "no tensors; the file holds a mapping of 'epoch'"),
        ([1, 2], "no tensors; the file holds a list"),
    ],
)
def test_other_files_are_refused_for_what_they_are(tmp_path, content, message):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=message):
        read_weights(str(tmp_path / "w.pth"), {})


def test_a_resnet_alone_is_no_detector_and_one_to_start_from(tmp_path):
    theirs = resnet50().eval()
    path = str(tmp_path / "resnet50.pth")
    torch.save(theirs.state_dict(), path)
    with pytest.raises(WeightsError, match="a ResNet without a detector's heads"):
        read_weights(path, {})
    network, conventions = read_trainable(path, numbered_vocabulary(7, 5))
    assert network.architecture.blocks == (3, 4, 6, 3) and network.cls_score.out_features == 8
    assert conventions.channel_order == "rgb"
    images = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        stem = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
        expected = theirs.layer3(theirs.layer2(theirs.layer1(stem)))
        torch.testing.assert_close(network.eval().feature_map(images), expected)
    short = {name: each for name, each in theirs.state_dict().items() if name != "layer2.0.bn1.bias"}
    torch.save(short, path)
    with pytest.raises(WeightsError, match=r"missing tensors \['layer2.0.bn1.bias'\]"):
        read_trainable(path, numbered_vocabulary(7, 5))


def test_training_goes_on_with_a_published_detector_of_its_vocabulary_alone(tmp_path):
    path = tmp_path / "w.pkl"
    write_pickle(path, as_detectron2(random_network()))
    network, conventions = read_trainable(str(path), numbered_vocabulary(7, 5))
    assert network.architecture == SHAPE and conventions == CONVERTED
    with pytest.raises(WeightsError, match=r"vocabulary has \(8, 5\) classes and attributes, weights .* tell \(7, 5\)"):
        read_trainable(str(path), numbered_vocabulary(8, 5))


def test_a_configuration_that_says_nonsense_is_refused_by_name(tmp_path):
    torch.save(as_detectron2(random_network()), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.yaml").write_text("input: {min_size_test: wide}")
    with pytest.raises(WeightsError, match=r"input.min_size_test is 'wide', expected what short_side may be"):
        read_weights(str(tmp_path), {})
    (tmp_path / "config.yaml").write_text("input: {format: YUV}")
    with pytest.raises(WeightsError, match=r"input.format is 'YUV', expected what channel_order may be"):
        read_weights(str(tmp_path), {})
    (tmp_path / "config.yaml").write_text("roi_heads: {nms_thresh_test: []}")
    with pytest.raises(WeightsError, match=r"nms_thresh_test is \[\], expected what nms_threshold may be"):
        read_weights(str(tmp_path), {})
    (tmp_path / "config.yaml").write_text("!!python/object/apply:os.system [true]")
    with pytest.raises(WeightsError, match="no YAML of plain values"):
        read_weights(str(tmp_path), {})


def test_a_folder_without_weights_says_what_it_lacks(tmp_path):
    with pytest.raises(WeightsError, match=r"a folder without pytorch_model.bin or model.safetensors"):
        read_weights(str(tmp_path), {})
