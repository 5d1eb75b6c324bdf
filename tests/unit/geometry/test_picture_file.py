"""Tests of deepreg_meta/geometry/picture_file.py; reference: SimpleITK."""

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from deepreg_meta.geometry.affine import FLIP, apply
from deepreg_meta.geometry.picture_file import (
    is_picture,
    mask_to_unit,
    read_header,
    read_picture,
    save_picture,
)

COLUMNS, ROWS = 6, 4
GREYS = {8: np.uint8, 16: np.uint16}


def pixels_of(rng, bits=8):
    """:return: (rows, columns), as Pillow has them, with both ends of the range."""
    pixels = rng.integers(0, 2**bits, (ROWS, COLUMNS)).astype(GREYS[bits])
    pixels[0, 1], pixels[3, 5] = 0, 2**bits - 1
    return pixels


@pytest.mark.parametrize("bits", GREYS)
def test_voxels_and_places_are_those_of_itk(tmp_path, rng, bits):
    path = tmp_path / "a.png"
    Image.fromarray(pixels_of(rng, bits)).save(path)
    found, itk = read_picture(path), sitk.ReadImage(str(path))
    assert found.shape == (COLUMNS, ROWS, 1) and found.dtype == GREYS[bits]
    assert itk.GetSize() == found.shape[:2]
    # element [x, y, 0] is what ITK has at the index (x, y)
    np.testing.assert_array_equal(found[..., 0], sitk.GetArrayFromImage(itk).T)
    assert found[1, 0, 0] == 0 and found[5, 3, 0] == 2**bits - 1
    for index in ((0, 0), (5, 0), (2, 3)):
        place = (*itk.TransformIndexToPhysicalPoint(index), 0.0)
        found = apply(read_header(path).affine, (*index, 0))
        np.testing.assert_array_equal(found, FLIP * place)
    assert read_header(path) == ((COLUMNS, ROWS), f"uint{bits}", None)


def test_the_spacing_is_that_of_itk(tmp_path, rng):
    """Which keeps it in the files that it writes, and looks at no other statement."""
    path, image = tmp_path / "a.png", Image.fromarray(pixels_of(rng))
    image.save(path, dpi=(72, 300))
    assert sitk.ReadImage(str(path)).GetSpacing() == (1, 1)
    assert read_header(path).spacing is None
    itk = sitk.ReadImage(str(path))
    sitk.WriteImage(itk, str(path))
    assert b"sCAL" in path.read_bytes() and read_header(path).spacing is None
    itk.SetSpacing((0.5, 1.25))
    sitk.WriteImage(itk, str(path))
    assert read_header(path).spacing == (0.5, 1.25)
    np.testing.assert_array_equal(
        read_header(path).affine, np.diag([-0.5, -1.25, 1, 1])
    )
    np.testing.assert_array_equal(read_picture(path)[..., 0].T, np.asarray(image))


@pytest.mark.parametrize("spacing", [(0.5, 1.0), (1 / 3, 123.456789), (1e-5, 4e6)])
def test_a_spacing_that_is_written_is_read_by_itk(tmp_path, rng, spacing):
    path, image = tmp_path / "a.png", pixels_of(rng).T[..., None]
    save_picture(path, image, spacing=spacing)
    assert sitk.ReadImage(str(path)).GetSpacing() == pytest.approx(spacing, rel=1e-8)
    assert read_header(path).spacing == pytest.approx(spacing, rel=1e-8)
    np.testing.assert_array_equal(read_picture(path), image)


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_are_scaled_as_itk_does(tmp_path, rng, bits):
    """SimpleITK reads them so; written here, as Pillow writes one bit alone."""
    path = tmp_path / "a.png"
    values = rng.integers(0, 2**bits, (ROWS, COLUMNS))
    write_few_bits(path, values, bits)
    found = read_picture(path)
    assert found.dtype == np.uint8 and found.max() == 255
    expected = sitk.GetArrayFromImage(sitk.ReadImage(str(path))).T
    np.testing.assert_array_equal(found[..., 0], expected)
    np.testing.assert_array_equal(found[..., 0], values.T * (255 // (2**bits - 1)))


def write_few_bits(path, values, bits):
    """Write a grey PNG of 1, 2 or 4 bits by hand."""
    import struct
    import zlib

    def chunk(kind, data):
        check = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)

    rows = b""
    for row in values:
        text = "".join(f"{value:0{bits}b}" for value in row)
        text += "0" * (-len(text) % 8)
        rows += b"\0" + int(text, 2).to_bytes(len(text) // 8, "big")
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, 0, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))


def save_palette(path, indices, palette):
    image = Image.fromarray(indices)
    image.putpalette(np.asarray(palette, np.uint8).tobytes())
    image.save(path)


def test_of_a_coloured_palette_the_indices_count(tmp_path, rng):
    """As label maps have it: what a viewer shows in colours are the numbers 0 to 3."""
    indices = rng.integers(0, 4, (ROWS, COLUMNS)).astype(np.uint8)
    colours = [(0, 0, 0), (200, 0, 0), (0, 90, 0), (70, 70, 70)]
    save_palette(tmp_path / "a.png", indices, colours)
    with Image.open(tmp_path / "a.png") as image:
        assert image.mode == "P"
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png")[..., 0], indices.T)


def test_a_grey_palette_gives_what_it_shows(tmp_path, rng):
    """Programs that shrink files save grey images so, their greys in any order."""
    indices = rng.integers(0, 3, (ROWS, COLUMNS)).astype(np.uint8)
    save_palette(tmp_path / "a.png", indices, [(9, 9, 9), (250, 250, 250), (0, 0, 0)])
    expected = np.array([9, 250, 0])[indices.T]
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png")[..., 0], expected)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA"])
def test_colours_are_refused(tmp_path, mode):
    path = tmp_path / "colour.png"
    Image.new(mode, (COLUMNS, ROWS)).save(path)
    message = rf"colour.png: expected a picture of one channel, .*, got {mode}\. Save"
    for read in (read_picture, read_header):
        with pytest.raises(ValueError, match=message):
            read(path)


def test_what_is_no_png_is_named(tmp_path, rng):
    path = tmp_path / "a.png"
    Image.fromarray(pixels_of(rng)).save(path)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ValueError, match=r"a.png: cannot be read as a PNG \("):
        read_picture(path)
    Image.fromarray(pixels_of(rng)).save(tmp_path / "b.png", format="BMP")
    with pytest.raises(ValueError, match=r"b.png: cannot be read as a PNG \("):
        read_picture(tmp_path / "b.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_written_is_read_back(tmp_path, rng, dtype):
    image = rng.integers(0, np.iinfo(dtype).max, (COLUMNS, ROWS, 1)).astype(dtype)
    save_picture(tmp_path / "new" / "a.png", image, dtype)
    found = read_picture(tmp_path / "new" / "a.png")
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, image)


def test_values_are_rounded_and_cut_off_and_bits_are_as_many_as_they_need(tmp_path):
    image = np.array([[-3.0, 0.4], [0.6, 254.6], [255.4, 7.0]])[..., None]
    for scale, largest in ((1, 255), (2, 511)):
        save_picture(tmp_path / "a.png", (scale * image).clip(max=largest))
        found = read_picture(tmp_path / "a.png")
        assert found.dtype == (np.uint8 if scale == 1 else np.uint16)
    save_picture(tmp_path / "a.png", image, np.uint8)
    expected = [[0, 0], [1, 255], [255, 7]]
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png")[..., 0], expected)
    with pytest.raises(ValueError, match=r"two axes, .*, got shape \(4, 5, 6\)"):
        save_picture(tmp_path / "b.png", np.zeros((4, 5, 6)))
    assert not (tmp_path / "b.png").exists()


def test_a_mask_of_0_and_255_is_one_of_0_and_1_and_nothing_else_changes():
    mask = np.array([[0, 255], [255, 255]], np.uint8)
    np.testing.assert_array_equal(mask_to_unit(mask), [[0, 1], [1, 1]])
    np.testing.assert_array_equal(mask_to_unit(mask.astype(np.float32)), mask // 255)
    for other in ([0, 1, 1], [0, 128, 255], [0, 0], [0, 1, 255]):
        np.testing.assert_array_equal(mask_to_unit(np.array(other)), other)


def test_a_picture_is_known_by_its_name():
    assert is_picture("a/b.png") and is_picture("a/B.PNG")
    assert not is_picture("a.png.nii.gz") and not is_picture("png")
