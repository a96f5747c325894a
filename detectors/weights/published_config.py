"""The conventions that a published detector's own configuration tells: `config.yaml` of unc-nlp/frcnn-vg-finetuned."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from annotations.guards.shown import shown

Settings = dict[str, Any]


def _floats(values: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _order(text: str) -> str:
    return {"BGR": "bgr", "RGB": "rgb"}[text]


def _first(values: Any) -> float:
    return float(values[0] if isinstance(values, list) else values)


TOLD: tuple[tuple[str, str, Callable[[Any], Any]], ...] = (
    ("input.min_size_test", "short_side", int),
    ("input.max_size_test", "long_side", int),
    ("input.format", "channel_order", _order),
    ("model.pixel_mean", "pixel_means", _floats),
    ("model.pixel_std", "pixel_stds", _floats),
    ("model.max_pool", "stem_pooling", lambda caffe: "caffe" if caffe else "torchvision"),
    ("resnets.stride_in_1x1", "stride_in", lambda first: "1x1" if first else "3x3"),
    ("rpn.pre_nms_topk_test", "rpn_before_nms", int),
    ("rpn.post_nms_topk_test", "rpn_after_nms", int),
    ("rpn.nms_thresh", "rpn_nms_threshold", float),
    ("roi_box_head.res5halve", "res5", lambda halves: "stride" if halves else "dilation"),
    ("roi_box_head.pooler_resolution", "pooling_size", int),
    ("roi_box_head.bbox_reg_weights", "box_weights", _floats),
    ("roi_heads.nms_thresh_test", "nms_threshold", _first),
    ("roi_heads.score_thresh_test", "confidence", float),
)
"""Where a configuration says it, whatever the case of its keys; our convention; how its value becomes ours."""


MAX_BYTES = 1 << 16
"""Size of a configuration at most; published ones have a thirtieth. PyYAML takes a second for so many."""


class ConfigError(ValueError):
    """A configuration cannot be read, or says what is no value; the message names the file."""


def read_settings(path: Path) -> Settings:
    """Return the conventions that a Faster R-CNN's config.yaml tells; what it leaves out is not in them.

    Raises:
        ConfigError: it is no YAML of plain values, or one of them is of another kind.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{path}: {path.stat().st_size} bytes, expected at most {MAX_BYTES}")
        content = yaml.load(path.read_text(encoding="utf-8"), _PlainLoader)  # a safe one
    except ConfigError:
        raise
    except Exception as error:  # of a value that is none, PyYAML raises what Python does
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        raise ConfigError(f"{path}: no YAML of plain values ({cause})") from error
    settings: Settings = {"resize": "half-up"}
    for place, convention, convert in TOLD:
        value = _at(content, place)
        if value is None:
            continue
        try:
            settings[convention] = convert(value)
        except (TypeError, ValueError, AttributeError, LookupError) as error:
            raise ConfigError(f"{path}: {place} is {shown(value)}, expected what {convention} may be") from error
    return settings


class _PlainLoader(yaml.SafeLoader):
    """Without aliases: a few lines of them may mean as many values as there are atoms, or a value in itself."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has aliases, expected every value to be written out")
        return super().compose_node(parent, index)


def _at(content: Any, place: str) -> Any:
    for key in place.split("."):
        lower = {str(each).lower(): value for each, value in content.items()} if isinstance(content, Mapping) else {}
        content = lower.get(key)
    return content
