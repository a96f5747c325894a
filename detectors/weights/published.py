"""Published checkpoints of Faster R-CNNs with a ResNet's fourth stage as map, told apart by their keys.

All name their tensors much as detectron2 does. What differs, and ruins features where it is missed, is how images are
scaled, which row is background, in which order anchors stand, where boxes end, and which convolution has the stride.

Axes: A anchors of a cell.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from detectors.conventions import IMAGENET, Conventions, override
from detectors.networks.anchors import Anchors, caffe_anchors, exact_anchors
from detectors.networks.faster_rcnn import Architecture, FasterRCNNNetwork
from detectors.networks.network import RegionNetwork
from detectors.vocabulary import Vocabulary
from detectors.weights.coco_names import COCO_CLASSES

Tensors = Mapping[str, Tensor]

RENAMES = (
    (r"^stem\.0\.", "backbone.stem.conv1."),
    (r"^stem\.1\.", "backbone.stem.conv1.norm."),
    (r"^(res[234])\.", r"backbone.\1."),
    (r"^res5\.", "roi_heads.res5."),
    (r"\.bn([123])\.", r".conv\1.norm."),
    (r"\.downsample\.0\.", ".shortcut."),
    (r"\.downsample\.1\.", ".shortcut.norm."),
    (r"^proposals\.head\.conv\.", "proposal_generator.rpn_head.conv."),
    (r"^proposals\.head\.objectness\.", "proposal_generator.rpn_head.objectness_logits."),
    (r"^proposals\.head\.deltas\.", "proposal_generator.rpn_head.anchor_deltas."),
    (r"^(cls_score|bbox_pred|cls_embedding|fc_attr|attr_score)\.", r"roi_heads.box_predictor.\1."),
)
"""From our names to detectron2's."""

BUA_RENAMES = (
    (r"box_predictor\.cls_embedding\.", "box_predictor.cls_embed."),
    (r"box_predictor\.fc_attr\.", "box_predictor.attr_linear1."),
    (r"box_predictor\.attr_score\.", "box_predictor.attr_linear2."),
)

CELL_ANCHORS = "proposal_generator.anchor_generator.cell_anchors.0"
PIXEL_MEANS, PIXEL_STDS = "pixel_mean", "pixel_std"
HIDDEN_OF_RPN = "proposal_generator.rpn_head.conv.weight"
CLASS_LAYER = "roi_heads.box_predictor.cls_score.weight"

OF_NO_USE = re.compile(r"(num_batches_tracked$|^roi_heads\.mask_head\.|anchor_generator\.cell_anchors\.\d+$)")
"""What a file may hold beyond a detector of boxes."""

CAFFE = Conventions(
    stride_in="1x1", stem_pooling="caffe", res5="dilation", resize="caffe", extents="inclusive",
    box_weights=(1.0, 1.0, 1.0, 1.0),
)  # fmt: skip
"""bottom-up-attention as Caffe runs it."""

CONVERTED = replace(
    CAFFE, resize="pillow", extents="continuous", box_weights=(10.0, 10.0, 5.0, 5.0), boxes="regressed",
    nms="best-class", attribute_none="left-out",
)  # fmt: skip
"""The same network as its conversion's extraction script for COCO runs it in detectron2."""

ZOO = Conventions(
    stride_in="1x1", pooling="align-half", resize="pillow", short_side=800, long_side=1333, boxes="regressed",
    pixel_means=(103.53, 116.28, 123.675), rpn_after_nms=1000, nms_threshold=0.5,
)  # fmt: skip
"""detectron2's model zoo."""


TRUNK_RENAMES = (
    (r"^stem\.0\.", "conv1."),
    (r"^stem\.1\.", "bn1."),
    (r"^res2\.", "layer1."),
    (r"^res3\.", "layer2."),
    (r"^res4\.", "layer3."),
    (r"^res5\.", "layer4."),
)
"""From our names to those of torchvision's ResNets."""

TRUNK_CONV = "layer1.0.conv2.weight"


class LayoutError(ValueError):
    """Tensors are of no layout that is known, or not all there; the message says which, without the file's name."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """One way of naming and ordering a detector's tensors, with what its code does beside them."""

    name: str
    conventions: Conventions
    anchors: Anchors
    """In the order of the network's channels, where the file does not tell."""
    renames: tuple[tuple[str, str], ...] = RENAMES
    background_last: bool = True
    """Whether background is the last class and attribute; then box deltas have no rows for it."""


BOTTOM_UP_ATTENTION = Layout(
    name="bottom-up-attention.pytorch, from Caffe",
    conventions=CAFFE,
    anchors=caffe_anchors((4, 8, 16, 32)),
    renames=(*RENAMES, *BUA_RENAMES),
    background_last=False,
)
CONVERTED_TO_DETECTRON2 = Layout(
    name="bottom-up-attention converted to detectron2",
    conventions=CONVERTED,
    anchors=exact_anchors((64, 128, 256, 512)),
)
MODEL_ZOO = Layout(name="detectron2 C4", conventions=ZOO, anchors=exact_anchors((32, 64, 128, 256, 512)))


@dataclass(frozen=True, kw_only=True, eq=False)
class Published:
    """A network in training form, and how its authors' code applies it."""

    layout: str
    network: RegionNetwork
    conventions: Conventions
    num_classes: int
    num_attributes: int
    vocabulary: Vocabulary | None = None
    """None where nobody can know it from the tensors."""


def read_published(tensors: Tensors, settings: Mapping[str, Any], overrides: Mapping[str, str]) -> Published:
    """Return the network of a checkpoint's tensors.

    Args:
        settings: conventions that the checkpoint's own configuration tells, against those of its layout.
        overrides: conventions as the user wants them, as text, against both.

    Raises:
        LayoutError: the tensors are of no known layout, or some are missing, left over or of another shape.
    """
    layout = find_layout(tensors)
    told = {"pixel_means": PIXEL_MEANS, "pixel_stds": PIXEL_STDS}
    of_file = {name: tuple(tensors[key].flatten().tolist()) for name, key in told.items() if key in tensors}
    conventions = override(replace(layout.conventions, **(of_file | dict(settings))), overrides)
    architecture = _architecture(tensors, layout)
    network = FasterRCNNNetwork(architecture, conventions)
    ours = dict(tensors)
    if layout.background_last:
        _move_background(ours)
    _join_objectness(ours, len(architecture.anchors))
    load_under_their_names(network, ours, layout.renames)
    names = Vocabulary(classes=COCO_CLASSES, attributes=())
    return Published(
        layout=layout.name,
        network=network,
        conventions=conventions,
        num_classes=architecture.num_classes,
        num_attributes=architecture.num_attributes,
        vocabulary=names if architecture.num_classes == len(COCO_CLASSES) and not architecture.num_attributes else None,
    )


def find_layout(tensors: Tensors) -> Layout:
    """Return the layout that the tensors' names and sizes are of."""
    if "backbone.stem.norm.weight" in tensors:
        raise LayoutError("a ResNet-152 whose norms stand before its convolutions; expected a plain ResNet")
    if any(name.startswith("backbone.fpn_") for name in tensors):
        raise LayoutError("a feature pyramid of detectron2; run it with --detector detectron2 and its configuration")
    if is_trunk(tensors):
        raise LayoutError("a ResNet without a detector's heads; vinculum-train detector --init starts from it")
    if CLASS_LAYER not in tensors or HIDDEN_OF_RPN not in tensors:
        raise LayoutError(
            f"names such as {', '.join(sorted(tensors)[:3])} are of no known layout; known: ours, "
            f"{BOTTOM_UP_ATTENTION.name}, {CONVERTED_TO_DETECTRON2.name}, {MODEL_ZOO.name}, torchvision's "
            "fasterrcnn_resnet50_fpn and _v2"
        )
    if "roi_heads.box_predictor.attr_linear1.weight" in tensors:
        return BOTTOM_UP_ATTENTION
    return CONVERTED_TO_DETECTRON2 if len(tensors[HIDDEN_OF_RPN]) == 512 else MODEL_ZOO


def load_under_their_names(
    network: torch.nn.Module, tensors: Tensors, renames: tuple[tuple[str, str], ...] = ()
) -> None:
    """The network has the tensors, which stand under the names that `renames` makes of its own.

    Raises:
        LayoutError: lists, in the file's own names, what is missing, left over, or of another shape.
    """
    expected = {name: each for name, each in network.state_dict().items() if not OF_NO_USE.search(name)}
    theirs = {ours: _renamed(ours, renames) for ours in expected}
    missing = sorted(set(theirs.values()) - tensors.keys())
    known = {*theirs.values(), PIXEL_MEANS, PIXEL_STDS}
    left_over = sorted(name for name in tensors.keys() - known if not OF_NO_USE.search(name))
    if missing or left_over:
        raise LayoutError(f"missing tensors {missing}, left-over tensors {left_over}")
    for ours, name in theirs.items():
        if tensors[name].shape != expected[ours].shape:
            found, wanted = list(tensors[name].shape), list(expected[ours].shape)
            raise LayoutError(f"{name} is {found}, expected {wanted}")
    network.load_state_dict({ours: tensors[name] for ours, name in theirs.items()}, strict=False)


def is_trunk(tensors: Tensors) -> bool:
    """Return whether these are a ResNet of torchvision's, which knows no regions."""
    return TRUNK_CONV in tensors


def start_from_trunk(tensors: Tensors, num_classes: int, num_attributes: int) -> Published:
    """Return a network whose trunk is torchvision's, its norms frozen, and whose heads have learnt nothing.

    Raises:
        LayoutError: tensors of the trunk are missing or of another shape.
    """
    stages = [_count_blocks(tensors, f"layer{number}.") for number in (1, 2, 3, 4)]
    architecture = Architecture(
        blocks=tuple(stages),  # type: ignore[arg-type]  # four
        width_per_group=len(tensors[TRUNK_CONV]),
        num_classes=num_classes,
        num_attributes=num_attributes,
    )
    network = FasterRCNNNetwork(architecture, IMAGENET)
    of_trunk = {name: each for name, each in tensors.items() if not name.startswith("fc.")}
    trunk = nn.ModuleDict({name: getattr(network, name) for name in ("stem", "res2", "res3", "res4", "res5")})
    load_under_their_names(trunk, of_trunk, TRUNK_RENAMES)
    return Published(
        layout="torchvision ResNet",
        network=network,
        conventions=IMAGENET,
        num_classes=num_classes,
        num_attributes=num_attributes,
    )


def _renamed(name: str, renames: tuple[tuple[str, str], ...]) -> str:
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name


def _architecture(tensors: Tensors, layout: Layout) -> Architecture:
    def rows(ours: str) -> int:
        return len(tensors.get(_renamed(ours, layout.renames), ()))

    attributes = rows("attr_score.weight")
    embedding = tensors.get(_renamed("cls_embedding.weight", layout.renames))
    return Architecture(
        blocks=tuple(_num_blocks(tensors, layout, stage) for stage in (2, 3, 4, 5)),  # type: ignore[arg-type]  # four
        width_per_group=rows("res2.0.conv2.weight"),
        num_classes=rows("cls_score.weight") - 1,
        num_attributes=max(0, attributes - 1),
        rpn_channels=rows("proposals.head.conv.weight"),
        anchors=_anchors(tensors, layout),
        class_embedding_dim=Architecture.class_embedding_dim if embedding is None else embedding.shape[1],
        attribute_hidden_dim=rows("fc_attr.weight") or Architecture.attribute_hidden_dim,
    )


def _num_blocks(tensors: Tensors, layout: Layout, stage: int) -> int:
    return _count_blocks(tensors, _renamed(f"res{stage}.", layout.renames))


def _count_blocks(tensors: Tensors, start: str) -> int:
    numbers = {name.removeprefix(start).split(".")[0] for name in tensors if name.startswith(start)}
    if not numbers:
        raise LayoutError(f"nothing under {start}*, expected the blocks of a ResNet's stage")
    if numbers != {str(number) for number in range(len(numbers))}:
        raise LayoutError(f"{start}* has {', '.join(sorted(numbers)[:5])}, expected blocks 0, 1, 2 and so on")
    return len(numbers)


def _anchors(tensors: Tensors, layout: Layout) -> Anchors:
    if CELL_ANCHORS in tensors:
        rows = tensors[CELL_ANCHORS].double().tolist()
        return tuple((x1, y1, x2, y2) for x1, y1, x2, y2 in rows)
    return layout.anchors


def _move_background(tensors: dict[str, Tensor]) -> None:
    """Rows of background and of no attribute come first instead of last; box deltas get rows for it."""
    for layer in ("cls_score", "cls_embedding", "attr_score"):
        for kind in ("weight", "bias"):
            name = f"roi_heads.box_predictor.{layer}.{kind}"
            if name in tensors:
                tensors[name] = tensors[name].roll(1, dims=0)
    for kind in ("weight", "bias"):
        name = f"roi_heads.box_predictor.bbox_pred.{kind}"
        if name in tensors:
            tensors[name] = torch.cat([torch.zeros_like(tensors[name][:4]), tensors[name]])


def _join_objectness(tensors: dict[str, Tensor], num_anchors: int) -> None:
    """Caffe's two logits an anchor, background and object, become one: their difference ranks anchors alike."""
    for kind in ("weight", "bias"):
        name = f"proposal_generator.rpn_head.objectness_logits.{kind}"
        if name in tensors and len(tensors[name]) == 2 * num_anchors:
            tensors[name] = tensors[name][num_anchors:] - tensors[name][:num_anchors]
