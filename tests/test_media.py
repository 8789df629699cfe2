"""Pictures come out as a person sees them, and bad ones say what is wrong with them."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from autolabel.errors import InputError
from autolabel.media.pictures import file_key, probe_size, read_image
from tests.pictures import png_claiming, quadrants, save

RED, GREEN, BLUE, WHITE = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)


def pixels(path: Path) -> np.ndarray:
    return read_image(path)[0].image


@pytest.mark.parametrize("extension", ["png", "bmp", "tiff", "webp", "jpg"])
def test_every_format_gives_the_same_picture(tmp_path: Path, extension: str) -> None:
    options = {"lossless": True} if extension == "webp" else {}
    found = pixels(save(tmp_path / f"a.{extension}", **options))
    assert found.dtype == np.uint8
    assert found.flags.writeable
    slack = 3 if extension == "jpg" else 0
    assert np.abs(found[5, 5].astype(int) - RED).max() <= slack
    assert np.abs(found[35, 55].astype(int) - WHITE).max() <= slack
    assert found.shape == (40, 60, 3)


def test_the_key_is_the_sha256_of_the_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png")
    expected = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_image(path)[1] == expected
    assert file_key(path) == expected


# The corners clockwise from the top left, after the turn that EXIF asks for.
TURNED = {
    1: (RED, GREEN, WHITE, BLUE),
    2: (GREEN, RED, BLUE, WHITE),
    3: (WHITE, BLUE, RED, GREEN),
    4: (BLUE, WHITE, GREEN, RED),
    5: (RED, BLUE, WHITE, GREEN),
    6: (BLUE, RED, GREEN, WHITE),
    7: (WHITE, GREEN, RED, BLUE),
    8: (GREEN, WHITE, BLUE, RED),
}


@pytest.mark.parametrize("extension", ["png", "tiff", "jpg", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(tmp_path: Path, extension: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if extension == "webp" else {}
    path = save(tmp_path / f"a.{extension}", exif=exif, **options)
    found = pixels(path)
    corners = (found[3, 3], found[3, -4], found[-4, -4], found[-4, 3])
    assert np.abs(np.array(corners, int) - np.array(TURNED[orientation])).max() <= 3
    assert found.shape[:2] == ((60, 40) if orientation >= 5 else (40, 60))
    assert probe_size(path) == found.shape[:2]


@pytest.mark.parametrize("extension", ["jpg", "png", "webp"])
def test_broken_exif_does_not_lose_the_picture(tmp_path: Path, extension: str) -> None:
    path = save(tmp_path / f"a.{extension}", exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01garbage")
    assert pixels(path).shape == (40, 60, 3)
    assert probe_size(path) == (40, 60)


def test_orientation_survives_other_broken_tags(tmp_path: Path) -> None:
    # Two entries: Orientation 6, and a GPS pointer far outside the block.
    block = (
        b"Exif\0\0II*\0\x08\0\0\0\x02\0"
        b"\x12\x01\x03\0\x01\0\0\0\x06\0\0\0"
        b"\x25\x88\x04\0\x01\0\0\0\xff\xff\xff\x7f\0\0\0\0"
    )
    path = save(tmp_path / "a.jpg", exif=block)
    assert pixels(path).shape == (60, 40, 3)


def test_sixteen_bit_gray_is_scaled_by_its_full_range(tmp_path: Path) -> None:
    values = np.array([[0, 128, 129, 257, 32896, 65535]], np.uint16)
    for name in ("a.png", "a.tiff"):
        found = pixels(save(tmp_path / name, values))
        assert found[0, :, 0].tolist() == [0, 0, 1, 1, 128, 255]
        assert np.array_equal(found[..., 0], found[..., 2])


def test_big_endian_sixteen_bit_tiff(tmp_path: Path) -> None:
    big = Image.frombytes("I;16B", (3, 1), bytes([0, 0, 1, 1, 255, 255]))
    big.save(tmp_path / "a.tiff")
    assert Image.open(tmp_path / "a.tiff").mode == "I;16B"
    assert pixels(tmp_path / "a.tiff")[0, :, 0].tolist() == [0, 1, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 257, 65535]], np.int32), [0, 1, 255]),  # 16 bits in 32
        (np.array([[0, 100_000, 200_000]], np.int32), [0, 128, 255]),  # stretched
        (np.array([[-10, 0, 10]], np.int32), [0, 128, 255]),
        (np.array([[0.0, 0.2, 1.0]], np.float32), [0, 51, 255]),  # a share of white
        (np.array([[0.0, 0.2, 0.4]], np.float32), [0, 51, 102]),
        (np.array([[100.0, 200.0, 300.0]], np.float32), [0, 128, 255]),
        (np.array([[0.0, np.nan, 1.0]], np.float32), [0, 0, 255]),
        (np.array([[-1.0, np.inf, 1.0]], np.float32), [0, 255, 255]),
    ],
)
def test_deep_grayscale(tmp_path: Path, values: np.ndarray, expected: list[int]) -> None:
    assert pixels(save(tmp_path / "a.tiff", values))[0, :, 1].tolist() == expected


def test_transparent_pixels_are_white_whatever_lies_under_them(tmp_path: Path) -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0] = [(200, 0, 0, 255), (200, 0, 0, 0), (0, 0, 0, 128)]
    found = pixels(save(tmp_path / "rgba.png", rgba))[0]
    assert found[0].tolist() == [200, 0, 0]
    assert found[1].tolist() == [255, 255, 255]
    assert found[2].tolist() == [127, 127, 127]
    gray = Image.fromarray(np.array([[[9, 255], [9, 0]]], np.uint8))
    gray.save(tmp_path / "la.png")
    assert pixels(tmp_path / "la.png")[0].tolist() == [[9, 9, 9], [255, 255, 255]]


def test_palette_with_a_transparent_entry(tmp_path: Path) -> None:
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putpixel((1, 0), 1)
    picture.save(tmp_path / "p.png", transparency=1)
    assert pixels(tmp_path / "p.png")[0].tolist() == [[10, 20, 30], [255, 255, 255]]
    picture.save(tmp_path / "opaque.png")
    assert pixels(tmp_path / "opaque.png")[0].tolist() == [[10, 20, 30], [40, 50, 60]]


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "CMYK", "LAB", "RGBA", "RGBX"])
def test_every_mode_becomes_rgb(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (5, 4)).save(tmp_path / "a.tiff")
    assert pixels(tmp_path / "a.tiff").shape == (4, 5, 3)


def test_cmyk_jpeg_keeps_its_colours(tmp_path: Path) -> None:
    Image.fromarray(quadrants()).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    assert np.abs(pixels(tmp_path / "a.jpg")[5, 5].astype(int) - RED).max() < 12


@pytest.mark.parametrize("extension", ["tiff", "webp", "png"])
def test_of_several_frames_the_first_is_read(tmp_path: Path, extension: str) -> None:
    first, second = Image.new("RGB", (6, 4), RED), Image.new("RGB", (6, 4), BLUE)
    options = {"lossless": True} if extension == "webp" else {}
    first.save(tmp_path / f"a.{extension}", save_all=True, append_images=[second], **options)
    assert pixels(tmp_path / f"a.{extension}")[0, 0].tolist() == list(RED)


def test_the_pictures_of_cameras_that_store_two_in_one_jpeg(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (16, 8), RED), Image.new("RGB", (4, 4), BLUE)
    first.save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=[second])
    assert pixels(tmp_path / "a.jpg").shape == (8, 16, 3)


def test_one_pixel(tmp_path: Path) -> None:
    path = save(tmp_path / "a.png", np.full((1, 1, 3), 7, np.uint8))
    assert pixels(path).tolist() == [[[7, 7, 7]]]
    assert probe_size(path) == (1, 1)


def bad_file(folder: Path, case: str) -> Path:
    path = folder / "it's a 'bad' one.jpg"
    buffer = io.BytesIO()
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (200, 200, 3), np.uint8))
    if case == "folder":
        path.mkdir()
    elif case == "pipe":
        os.mkfifo(path)
    elif case == "empty":
        path.write_bytes(b"")
    elif case == "text":
        path.write_text("this is not a picture")
    elif case == "gif":
        noise.save(path, "GIF")
    elif case in ("JPEG", "PNG", "WEBP", "BMP", "TIFF"):
        noise.save(buffer, case)
        path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    elif case == "bomb":
        png_claiming(path, 20_000, 20_000)
    elif case == "long":
        png_claiming(path, 70_000, 2)
    elif case == "no pixels":
        png_claiming(path, 0, 5)
    return path


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("vanished", "no such file"),
        ("folder", "is a folder, not a file"),
        ("pipe", "is not a regular file"),
        ("empty", "the file is empty (0 bytes)"),
        ("text", "not a picture in a format that is read (JPEG, PNG, WebP, BMP, TIFF)"),
        ("gif", "not a picture in a format that is read (JPEG, PNG, WebP, BMP, TIFF)"),
        ("JPEG", "the file is cut off"),
        ("PNG", "the file is cut off"),
        ("BMP", "the file is cut off"),
        ("TIFF", "the file is cut off"),
        ("WEBP", "damaged (OSError: could not create decoder object)"),
        ("bomb", "too large: more than 178,956,970 pixels"),
        ("long", "too large: a side of 70000 x 2 is over 65,535 pixels"),
        ("no pixels", ""),
    ],
)
def test_a_bad_file_says_which_it_is_and_what_is_wrong(
    tmp_path: Path, case: str, reason: str
) -> None:
    path = bad_file(tmp_path, case)
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert reason in str(caught.value)


def test_what_ultralytics_puts_in_place_of_pillow_s_open_is_not_asked(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from ultralytics.utils import patches\n"
        "from autolabel.media.pictures import read_image\n"
        "try: read_image(sys.argv[1])\n"
        "except Exception as error: print(error)"
    )
    pytest.importorskip("ultralytics", reason="ultralytics is not installed")
    path = bad_file(tmp_path, "text")
    said = subprocess.run(
        [sys.executable, "-c", code, path],
        capture_output=True,
        text=True,
        env=os.environ | {"YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true"},
    ).stdout
    assert "not a picture in a format that is read (JPEG, PNG, WebP, BMP, TIFF)" in said


@pytest.mark.parametrize("case", ["vanished", "folder", "pipe", "empty", "text", "bomb", "long"])
def test_probing_a_bad_file_says_it_too(tmp_path: Path, case: str) -> None:
    with pytest.raises(InputError):
        probe_size(bad_file(tmp_path, case))


@pytest.mark.parametrize("case", ["vanished", "folder", "pipe"])
def test_a_key_of_what_is_no_file(tmp_path: Path, case: str) -> None:
    with pytest.raises(InputError):
        file_key(bad_file(tmp_path, case))


def test_a_file_cut_anywhere_is_read_or_refused_but_never_crashes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = Image.fromarray(rng.integers(0, 255, (24, 24, 3), np.uint8))
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "TIFF"):
        buffer = io.BytesIO()
        noise.save(buffer, kind)
        whole = buffer.getvalue()
        for length in range(0, len(whole), max(1, len(whole) // 60)):
            path = tmp_path / "cut"
            path.write_bytes(whole[:length])
            with suppress(InputError):  # anything else fails the test
                assert pixels(path).shape == (24, 24, 3)


def test_reading_in_threads_gives_what_reading_alone_gives(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    paths = [
        save(tmp_path / f"{i}.png", rng.integers(0, 255, (30 + i, 20, 3), np.uint8))
        for i in range(40)
    ]
    alone = [read_image(path) for path in paths]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(read_image, paths))
    for (frame, key), (other, other_key) in zip(alone, together, strict=True):
        assert key == other_key
        assert np.array_equal(frame.image, other.image)
