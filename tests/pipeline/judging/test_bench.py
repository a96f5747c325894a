"""Figures that hang together, whatever the machine."""

import json

import pytest
from PIL import Image

from annotations.toyworld.drawing.composition import compose
from pipeline.cli import main


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for number in range(6):
        Image.fromarray(compose(0, number).pixels_rgb).save(folder / f"{number}.png")
    return folder


@pytest.mark.parametrize(
    ("options", "stages"),
    [
        (
            ["--weights", "toyworld", "--batch-size", "2"],
            {"trunk", "proposals", "pooling and fifth stage", "predictions", "selection and copies"},
        ),
        (["--detector", "swin", "--weights", "random:0", "--image-size", "224"], {"model"}),
    ],
)
def test_rates_stages_and_roofline_are_told(images, capsys, options, stages):
    assert main(["bench", "--images", str(images), "--num-images", "4", "--repeats", "2", "--json", *options]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    told = json.loads(last)
    assert told["num_images"] == 4
    slowest, fastest = told["model_spread"]
    assert 0 < slowest <= told["model_images_per_second"] <= fastest
    assert told["roofline_images_per_second"] == pytest.approx(told["device_gigaflops_per_second"] / told["gigaflops"])
    assert told["share_of_roofline"] == pytest.approx(
        told["model_images_per_second"] / told["roofline_images_per_second"]
    )
    assert set(told["stage_seconds"]) == {"read", "decode", "resize"} | stages
    assert set(told["pipeline_stage_seconds"]) == {"read", "decode", "wait", "detect", "write"}
    assert told["pipeline_images_per_second"] > 0 and told["peak_memory_mib"] > 100
    assert any(line.startswith("roofline") for line in lines)


def test_numbers_that_mean_nothing_are_refused(images, capsys):
    assert main(["bench", "--images", str(images), "--weights", "toyworld", "--repeats", "0"]) == 1
    assert "--repeats is 0, expected at least 1" in capsys.readouterr().err
