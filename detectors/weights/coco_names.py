"""The names that detectors trained on COCO have, as torchvision lists them."""

from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

COCO_IDS: tuple[str, ...] = tuple(FasterRCNN_ResNet50_FPN_Weights.COCO_V1.meta["categories"][1:])
"""Names of COCO's ids 1 to 90, without background; "N/A" where COCO has none."""
COCO_CLASSES = tuple(name for name in COCO_IDS if name != "N/A")
"""The 80 that there are, in the order of their ids."""
