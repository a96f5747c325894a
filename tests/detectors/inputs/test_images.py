import io
import os
import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageFile

from detectors.inputs.images import ImageError, decode_image, fit_sides, upright_size

TEST_DATA = Path(os.environ.get("VINCULUM_TEST_DATA", Path(__file__).parents[3] / "../shared/data"))

RED, WHITE = (255, 0, 0), (255, 255, 255)


def encoded(image: Image.Image, format_name: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, format_name, **options)
    return file.getvalue()


def scene(width: int = 48, height: int = 32) -> Image.Image:
    """A smooth picture without any symmetry, so that every wrong turn and channel swap shows."""
    y, x = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([x * 255 // width, y * 255 // height, (x + y) % 64], axis=2).astype(np.uint8))


def decoded(data: bytes) -> np.ndarray:
    return decode_image("picture", data).pixels_rgb


def decoded_by_opencv(data: bytes) -> np.ndarray:
    pixels_bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert pixels_bgr is not None
    return pixels_bgr[:, :, ::-1]


def first_pixel(data: bytes) -> tuple[int, ...]:
    return tuple(decoded(data)[0, 0].tolist())


def png_that_claims(width: int, height: int) -> bytes:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(bytes(99))) + chunk(b"IEND", b"")


def test_lossless_formats_give_back_every_pixel() -> None:
    for format_name in ("PNG", "BMP", "TIFF", "PPM"):
        image = decode_image("picture", encoded(scene(), format_name))
        np.testing.assert_array_equal(image.pixels_rgb, np.array(scene()), err_msg=format_name)
        assert (image.image_id, image.width, image.height) == ("picture", 48, 32)


def test_lossy_formats_come_close() -> None:
    for format_name in ("JPEG", "WEBP", "AVIF"):
        pixels = decoded(encoded(scene(256, 192), format_name, quality=95))
        assert np.abs(pixels.astype(int) - np.array(scene(256, 192))).mean() < 5, format_name


def test_photographs_agree_with_another_decoder() -> None:
    photographs = sorted((TEST_DATA / "coco/images").rglob("*.jpg"))[:5]
    if not photographs:
        pytest.skip(f"no photographs below {TEST_DATA / 'coco/images'}; set VINCULUM_TEST_DATA")
    for path in photographs:
        data = path.read_bytes()
        assert np.abs(decoded(data).astype(int) - decoded_by_opencv(data)).mean() < 0.5, path.name


@pytest.mark.parametrize("format_name", ["PNG", "TIFF", "WEBP"])
def test_all_eight_exif_orientations_give_the_same_upright_pixels(format_name: str) -> None:
    upright = scene()
    stored_as = {  # what a camera held that way has on its sensor
        1: upright,
        2: upright.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        3: upright.transpose(Image.Transpose.ROTATE_180),
        4: upright.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
        5: upright.transpose(Image.Transpose.TRANSPOSE),
        6: upright.transpose(Image.Transpose.ROTATE_90),
        7: upright.transpose(Image.Transpose.TRANSVERSE),
        8: upright.transpose(Image.Transpose.ROTATE_270),
    }
    lossless = {"lossless": True} if format_name == "WEBP" else {}
    for orientation, stored in stored_as.items():
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        data = encoded(stored, format_name, exif=exif, **lossless)
        np.testing.assert_array_equal(decoded(data), np.array(upright), err_msg=f"orientation {orientation}")
        assert upright_size(data) == upright.size, orientation


def test_a_jpeg_is_turned_as_another_decoder_turns_it() -> None:
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        data = encoded(scene(), "JPEG", exif=exif, quality=95)
        assert decoded(data).shape == decoded_by_opencv(data).shape
        assert np.abs(decoded(data).astype(int) - decoded_by_opencv(data)).mean() < 2, orientation
        assert upright_size(data) == decoded(data).shape[1::-1]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow comments on the cut table
@pytest.mark.parametrize("exif", [b"garbage, not a table", b"II*\0\xff\xff\xff\xff", b"MM\0*\0"])
def test_an_unreadable_exif_block_leaves_the_picture_as_it_is(exif: bytes) -> None:
    np.testing.assert_array_equal(decoded(encoded(scene(), exif=exif)), np.array(scene()))


def test_cmyk_becomes_the_colour_that_was_printed() -> None:
    red_ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    jpeg = encoded(red_ink, "JPEG", quality=100)
    assert b"Adobe" in jpeg  # the Adobe convention: stored inverted
    assert first_pixel(jpeg) == RED
    assert first_pixel(encoded(red_ink, "TIFF")) == RED

    mixed = Image.new("CMYK", (16, 16), (20, 100, 200, 50))
    assert first_pixel(encoded(mixed, "JPEG", quality=100)) == (189, 125, 44)  # (255 - ink) * (255 - black) / 255


def test_16_bit_grey_is_scaled_and_not_clipped() -> None:
    grey = np.array([[0, 257, 32768, 65535]], np.uint16)
    expected = [[0] * 3, [1] * 3, [128] * 3, [255] * 3]
    assert decoded(encoded(Image.fromarray(grey), "PNG"))[0].tolist() == expected
    assert decoded(encoded(Image.fromarray(grey), "TIFF"))[0].tolist() == expected
    assert decoded(b"P5 4 1 65535\n" + grey.astype(">u2").tobytes())[0].tolist() == expected


def test_16_bit_colour_keeps_its_upper_byte() -> None:
    bgr = np.array([[[0x2000, 0x80FF, 0xFFFF]]], np.uint16)
    assert first_pixel(cv2.imencode(".png", bgr)[1].tobytes()) == (0xFF, 0x80, 0x20)


def test_pixels_without_a_fixed_white_are_refused() -> None:
    with pytest.raises(ImageError, match="pixels of mode 'F' have no fixed white; save the image with 8 or 16 bits"):
        decode_image("heights", encoded(Image.new("F", (4, 4), 0.5), "TIFF"))


def test_transparent_parts_lie_on_white() -> None:
    assert first_pixel(encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 0)))) == WHITE
    assert first_pixel(encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 255)))) == RED
    assert first_pixel(encoded(Image.new("RGBA", (4, 4), (255, 0, 0, 128)))) == (255, 127, 127)
    assert first_pixel(encoded(Image.new("LA", (4, 4), (0, 128)))) == (127, 127, 127)
    assert first_pixel(encoded(Image.new("RGB", (4, 4), (7, 8, 9)), transparency=(7, 8, 9))) == WHITE
    assert first_pixel(encoded(Image.new("L", (4, 4), 7), transparency=7)) == WHITE


def test_palettes_are_looked_up() -> None:
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([0, 0, 255, *RED])
    assert first_pixel(encoded(picture)) == RED
    assert first_pixel(encoded(picture, transparency=0)) == RED
    assert first_pixel(encoded(picture, transparency=1)) == WHITE


def test_grey_and_black_and_white_become_three_equal_channels() -> None:
    assert first_pixel(encoded(Image.new("L", (4, 4), 77))) == (77, 77, 77)
    assert first_pixel(encoded(Image.new("L", (4, 4), 77), "JPEG")) == (77, 77, 77)
    assert first_pixel(encoded(Image.new("1", (4, 4), 1))) == WHITE
    assert first_pixel(encoded(Image.new("1", (4, 4), 0))) == (0, 0, 0)


def test_of_an_animation_the_first_frame_counts() -> None:
    red, green = Image.new("RGB", (8, 8), RED), Image.new("RGB", (8, 8), (0, 255, 0))
    for format_name in ("GIF", "PNG", "WEBP"):
        data = encoded(red, format_name, save_all=True, append_images=[green])
        assert first_pixel(data)[0] > 250, format_name
        assert first_pixel(data)[1] < 5, format_name


@pytest.mark.parametrize(("width", "height"), [(1, 1), (8000, 100), (100, 8000), (1, 300)])
def test_unusual_shapes_are_kept(width: int, height: int) -> None:
    assert decoded(encoded(Image.new("RGB", (width, height)), "JPEG")).shape == (height, width, 3)


def test_pixels_belong_to_the_caller() -> None:
    pixels = decoded(encoded(scene()))
    assert pixels.flags.writeable
    assert pixels.flags.c_contiguous


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"hello", "not an image: begins with b'hello'"),
        (b"<html><body>404</body></html>", "not an image: begins with b'<html><body>404<'"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not an image: begins with b'%!PS-Adobe-3.0 E'"),
        (b"\xff\xd8\xff\xe0 and then nothing of a JPEG", "truncated JPEG: Truncated File Read"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, reason: str) -> None:
    with pytest.raises(ImageError) as caught:
        decode_image("picture", data)
    assert str(caught.value) == reason


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_jpeg_is_refused_and_never_filled_with_grey(options: dict[str, bool], share: float) -> None:
    data = encoded(scene(640, 480), "JPEG", **options)
    with pytest.raises(ImageError, match=r"^truncated JPEG: "):
        decode_image("picture", data[: int(len(data) * share)])


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(ImageError) as caught:
        decode_image("bomb", png_that_claims(50000, 50000))
    assert str(caught.value) == (
        "too large: 50000 x 50000 = 2500000000 pixels, expected at most 128000000; "
        "vinculum extract takes it with --max-pixels 2500000000 --retry-quarantine"
    )


def test_the_pixel_limit_is_the_callers() -> None:
    assert decode_image("picture", encoded(scene(48, 32)), max_pixels=48 * 32).width == 48
    with pytest.raises(ImageError, match="too large: 48 x 32 = 1536 pixels, expected at most 1535"):
        decode_image("picture", encoded(scene(48, 32)), max_pixels=48 * 32 - 1)


def test_a_large_picture_below_the_limit_gives_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # another library's idea of large
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decoded(encoded(scene(64, 40))).shape == (40, 64, 3)


def test_a_process_that_lets_truncated_files_through_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(RuntimeError, match="LOAD_TRUNCATED_IMAGES is True"):
        decode_image("picture", encoded(scene()))


def test_threads_decode_what_one_thread_decodes() -> None:
    files = [encoded(scene(64 + n, 48), "JPEG" if n % 2 else "PNG") for n in range(32)]
    with ThreadPoolExecutor(8) as threads:
        for together, alone in zip(threads.map(decoded, files), map(decoded, files), strict=True):
            np.testing.assert_array_equal(together, alone)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow comments on broken metadata
@pytest.mark.parametrize("format_name", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF"])
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_bytes_raise_anything_but_the_reason(format_name: str, data: st.DataObject) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    original = bytearray(encoded(scene(), format_name, exif=exif))
    length = data.draw(st.integers(1, len(original)), label="length")
    places = st.integers(0, min(length, 300) - 1)  # headers lie at the beginning
    for place, byte in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6), label="changes"):
        original[place] = byte
    try:
        image = decode_image("picture", bytes(original[:length]), max_pixels=10**6)
    except ImageError as error:
        assert str(error)
    else:
        assert image.width * image.height <= 10**6


def test_sides_follow_the_600_1000_rule() -> None:
    def fitted(height: int, width: int) -> tuple[int, int]:
        return fit_sides(height, width, short_side=600, long_side=1000)

    assert fitted(480, 640) == (600, 800)
    assert fitted(640, 480) == (800, 600)
    assert fitted(600, 1000) == (600, 1000)
    assert fitted(375, 500) == (600, 800)
    assert fitted(1200, 2400) == (500, 1000)
    assert fitted(100, 8000) == (12, 1000)  # 12.5 rounds to even
    assert fitted(1, 8000) == (1, 1000)  # never below one pixel
    assert fitted(1, 1) == (600, 600)


@settings(max_examples=100, deadline=None)
@given(height=st.integers(1, 1500), width=st.integers(1, 1500))
def test_sides_are_those_of_the_caffe_code(height: int, width: int) -> None:
    scale = 600 / min(height, width)
    if np.round(scale * max(height, width)) > 1000:
        scale = 1000 / max(height, width)
    if min(round(height * scale), round(width * scale)) < 1:
        return  # OpenCV refuses what fit_sides keeps at one pixel
    resized = cv2.resize(np.zeros((height, width), np.uint8), None, fx=scale, fy=scale)
    assert fit_sides(height, width, short_side=600, long_side=1000) == resized.shape


def test_a_size_is_told_without_the_pixels_and_what_is_no_picture_has_none() -> None:
    assert upright_size(encoded(scene(), "JPEG")[:700]) == (48, 32)
    for data, reason in (
        (b"", "empty file"),
        (b"no picture", "not an image"),
        (png_that_claims(60_000, 60_000), "too large"),
        (encoded(scene())[:20], "truncated|damaged"),
    ):
        with pytest.raises(ImageError, match=reason):
            upright_size(data)
