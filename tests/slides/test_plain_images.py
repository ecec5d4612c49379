"""PNG and JPEG of every kind: the right pixels, upright, and in no more memory than is promised."""

from __future__ import annotations

import io
import subprocess
import sys
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageOps

from helpers.files.tiff_dialects import HEIGHT, WIDTH, grey_picture, picture, veil
from wsinuc.errors import SlideError
from wsinuc.grid import Box
from wsinuc.slides import open_slide
from wsinuc.slides.companions import check_companions
from wsinuc.slides.image import MAX_BYTES, MAX_PIXELS, check_size

WHOLE = Box(0, 0, HEIGHT, WIDTH)
PARTS = [Box(0, 0, 9, 9), Box(100, 150, 260, 300), Box(HEIGHT - 5, WIDTH - 7, HEIGHT, WIDTH)]


def on_white(image: Image.Image) -> np.ndarray:
    layer = image.convert("RGBA")
    return np.asarray(Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB"))


def veiled_image() -> Image.Image:
    return Image.fromarray(np.dstack([picture(), veil()]))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
@pytest.mark.parametrize("transparent", [False, True])
def test_png_modes_are_rgb_on_white(tmp_path: Path, mode: str, transparent: bool) -> None:
    image = veiled_image().convert("RGB").convert(mode) if mode != "RGBA" else veiled_image()
    options: dict = {}
    if transparent and mode in ("RGB", "L", "P"):
        options = {"transparency": {"RGB": tuple(picture()[0, 0].tolist()), "L": 120, "P": 3}[mode]}
    image.save(tmp_path / "a.png", **options)
    meant = on_white(Image.open(tmp_path / "a.png"))
    with open_slide(tmp_path / "a.png") as slide:
        assert np.array_equal(slide.read(WHOLE), meant)
        for part in PARTS:
            assert np.array_equal(slide.read(part), meant[part.slices])


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 0, "progressive": True}, {"quality": 30}]
)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_kinds_are_what_pillow_shows(tmp_path: Path, mode: str, options: dict) -> None:
    Image.fromarray(picture()).convert(mode).save(tmp_path / "a.jpg", **options)
    meant = np.asarray(Image.open(tmp_path / "a.jpg").convert("RGB"))
    with open_slide(tmp_path / "a.jpg") as slide:
        assert np.array_equal(slide.read(WHOLE), meant)
        assert ("CMYK" in " ".join(slide.header.notes)) == (mode == "CMYK")


@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_heeded(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    Image.fromarray(picture()).save(tmp_path / f"a.{suffix}", exif=exif)
    meant = np.asarray(ImageOps.exif_transpose(Image.open(tmp_path / f"a.{suffix}")).convert("RGB"))
    with open_slide(tmp_path / f"a.{suffix}", mpp=0.5) as slide:
        assert slide.level_shapes == (meant.shape[:2],)
        for part in (Box.of_shape(meant.shape[:2]), Box(5, 9, 120, 160)):
            assert np.array_equal(slide.read(part), meant[part.slices])
        assert bool(slide.header.notes) == (orientation != 1)
        assert (f"orientation {orientation}" in slide.header.dialect) == (orientation != 1)


@pytest.mark.parametrize("bits", [8, 10, 12, 16])
@pytest.mark.parametrize("kind", ["grey", "rgb", "rgba", "grey and alpha"])
def test_16_bit_png_is_scaled_by_the_largest_sample(tmp_path: Path, bits: int, kind: str) -> None:
    alpha = np.full((HEIGHT, WIDTH), 2**bits - 1, np.uint16)
    deep = np.rint(picture() * ((2**bits - 1) / 255)).astype(np.uint16)
    planes = {"grey": deep[..., 1], "rgb": deep, "rgba": np.dstack([deep, alpha])}
    planes["grey and alpha"] = np.dstack([deep[..., 1], alpha])
    (tmp_path / "a.png").write_bytes(imagecodecs.png_encode(np.ascontiguousarray(planes[kind])))
    meant = np.repeat(grey_picture()[..., None], 3, axis=2) if "grey" in kind else picture()
    with open_slide(tmp_path / "a.png") as slide:
        assert np.array_equal(slide.read(WHOLE), meant)
        assert f"{bits}-bit ones" in slide.header.notes[0]


class TestSizes:
    def test_memory_is_counted_in_bytes(self) -> None:
        side = int(MAX_PIXELS**0.5)
        check_size("a.png", (side, side), 3)
        check_size("a.png", (16_000, 16_000), 4)
        for shape, bytes_per_pixel in (((side, side), 4), ((side + 1, side + 1), 1), ((16_000, 16_000), 8)):
            with pytest.raises(SlideError, match=rf"{MAX_BYTES / 1e9:.1f} GB.*pyramidal"):
                check_size("a.png", shape, bytes_per_pixel)

    def test_coefficients_of_several_scans_count(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        image = Image.fromarray(picture())
        image.save(tmp_path / "one.jpg", subsampling=0)
        image.save(tmp_path / "several.jpg", subsampling=0, progressive=True)
        monkeypatch.setattr("wsinuc.slides.image.MAX_BYTES", 5 * HEIGHT * WIDTH)
        assert open_slide(tmp_path / "one.jpg").level_shapes == ((HEIGHT, WIDTH),)
        with pytest.raises(SlideError, match="of 9 bytes"):
            open_slide(tmp_path / "several.jpg", reader="image")

    def test_a_small_file_cannot_claim_a_large_image(self, tmp_path: Path) -> None:
        png = bytearray(imagecodecs.png_encode(picture()[:16, :16]))
        for side in (20_000, 2**31 - 1):
            png[16:20] = png[20:24] = side.to_bytes(4, "big")
            png[29:33] = zlib.crc32(png[12:29]).to_bytes(4, "big")
            (tmp_path / "a.png").write_bytes(png)
            with pytest.raises(SlideError, match="more than a file of"):
                open_slide(tmp_path / "a.png", reader="image")
        stream = io.BytesIO()
        Image.fromarray(picture()[:16, :16]).save(stream, "JPEG")
        jpeg = bytearray(stream.getvalue())
        frame = jpeg.index(b"\xff\xc0")
        jpeg[frame + 5 : frame + 9] = b"\x50\x00\x50\x00"
        (tmp_path / "a.jpg").write_bytes(jpeg)
        with pytest.raises(SlideError, match="more than a file of"):
            open_slide(tmp_path / "a.jpg", reader="image")

    def test_an_empty_large_image_is_honest(self, tmp_path: Path) -> None:
        Image.new("L", (9_000, 9_000), 255).save(tmp_path / "a.png")
        Image.new("L", (9_000, 9_000), 255).save(tmp_path / "a.jpg", progressive=True, optimize=True, quality=10)
        for name in ("a.png", "a.jpg"):
            assert open_slide(tmp_path / name, mpp=0.5).level_shapes == ((9_000, 9_000),)


SIDE = 3000
PEAK = """
import sys
from wsinuc.slides import open_slide
from wsinuc.grid import Box
def peak():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM")) * 1024
for path in sys.argv[1:]:
    slide = open_slide(path, mpp=0.5)
    height, width = slide.level_shapes[0]
    slide.read(Box(0, 0, 64, 64)), slide.read(Box(height - 64, width - 64, height, width))
    print(peak())
"""


def _large(path: Path, side: int) -> float:
    """A large image of the kind that the name says; bytes per pixel that it may take."""
    color = np.ascontiguousarray(np.broadcast_to(picture()[:1, :1], (side, side, 3)))
    with_alpha = np.concatenate([color, color[..., :1]], axis=2)
    if path.name == "rgba.png":
        path.write_bytes(imagecodecs.png_encode(with_alpha, level=1))
        return 4
    if path.name == "deep.png":
        path.write_bytes(imagecodecs.png_encode(color.astype(np.uint16) * 257, level=1))
        return 6
    if path.name == "strip.tif":
        tifffile.imwrite(path, with_alpha, photometric="rgb", extrasamples=["unassalpha"])
        return 4
    Image.fromarray(color).save(path, progressive=True, quality=50)
    return 6


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize("name", ["rgba.png", "deep.png", "strip.tif", "progressive.jpg"])
def test_decoding_takes_no_more_than_the_samples(tmp_path: Path, name: str) -> None:
    """Measured in a process of its own, after a small image of the kind has loaded what there is to load."""
    (tmp_path / "small").mkdir()
    _large(tmp_path / "small" / name, 256)
    per_pixel = _large(tmp_path / name, SIDE)
    command = [sys.executable, "-c", PEAK, str(tmp_path / "small" / name), str(tmp_path / name)]
    before, after = (int(line) for line in subprocess.run(command, capture_output=True, check=True).stdout.split())
    in_file = min((tmp_path / name).stat().st_size, 2**26)
    assert after - before <= per_pixel * SIDE**2 * 1.05 + in_file + 2**24


class TestCompanions:
    def test_a_mirax_slide_without_its_folder(self, tmp_path: Path) -> None:
        path = tmp_path / "slide.mrxs"
        Image.fromarray(picture()).save(path, "JPEG")
        for reader in ("auto", "image", "openslide"):
            with pytest.raises(SlideError, match=r"the folder slide/ is missing beside slide\.mrxs"):
                open_slide(path, reader=reader)
        (tmp_path / "slide").mkdir()
        with pytest.raises(SlideError, match=r"Slidedat\.ini is missing in the folder slide/"):
            open_slide(path)
        (tmp_path / "slide" / "Slidedat.ini").write_text("[GENERAL]")
        check_companions(path)

    def test_a_mirax_slide_that_openslide_refuses_is_never_its_thumbnail(self, tmp_path: Path) -> None:
        path = tmp_path / "slide.mrxs"
        Image.fromarray(picture()).save(path, "JPEG")
        (tmp_path / "slide").mkdir()
        (tmp_path / "slide" / "Slidedat.ini").write_text("[GENERAL]")
        with pytest.raises(SlideError, match=r"slide\.mrxs"):
            open_slide(path, mpp=0.5)

    def test_an_olympus_slide(self, tmp_path: Path) -> None:
        (tmp_path / "a.vsi").write_bytes(b"II*\0")
        with pytest.raises(SlideError, match=r"the folder _a_/ is missing.*OME-TIFF"):
            open_slide(tmp_path / "a.vsi")
        (tmp_path / "_a_").mkdir()
        with pytest.raises(SlideError, match=r"VSI.*OME-TIFF"):
            open_slide(tmp_path / "a.vsi")

    def test_a_hamamatsu_index_without_its_images(self, tmp_path: Path) -> None:
        index = "[Virtual Microscope Specimen]\nNoLayers=1\nImageFile=a.jpg\nImageFile(1,0)=b.jpg\nMapFile=m.jpg\n"
        (tmp_path / "a.vms").write_text(index)
        (tmp_path / "a.jpg").write_bytes(b"here")
        with pytest.raises(SlideError, match=r"b\.jpg is missing beside a\.vms: the slide consists"):
            open_slide(tmp_path / "a.vms")
        (tmp_path / "a.jpg").unlink()
        with pytest.raises(SlideError, match=r"a\.jpg is missing beside a\.vms, and 1 more"):
            open_slide(tmp_path / "a.vms")

    @pytest.mark.parametrize(
        ("name", "says"),
        [
            ("a.ndpis", r"\.ndpi"),
            ("a.dcm", "series"),
            ("a.isyntax", "TIFF"),
            ("a.nd2", "OME-TIFF"),
            ("a.bif", "Ventana"),
        ],
    )
    def test_formats_without_a_reader_say_what_to_do(self, tmp_path: Path, name: str, says: str) -> None:
        (tmp_path / name).write_bytes(b"of its own kind" * 9)
        with pytest.raises(SlideError, match=rf"{name}: .*{says}"):
            open_slide(tmp_path / name)
