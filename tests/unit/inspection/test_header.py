"""Tests of deepreg_meta/inspection/header.py."""

import h5py
import nibabel as nib
import numpy as np
import pytest

from deepreg_meta.geometry.affine import from_parts
from deepreg_meta.geometry.volume_file import save_volume
from deepreg_meta.inspection.entries import Entry
from deepreg_meta.inspection.header import read_header
from tests.unit.dataset.pictures import picture, save_png
from tests.unit.inspection.examples import change, spoil_affine, texts, titles

SHAPE = (5, 6, 7)
AFFINE = from_parts([[0, 2, 0], [-1, 0, 0], [0, 0, 3]], (4, 5, 6))  # PRS


@pytest.fixture
def path(tmp_path):
    save_volume(tmp_path / "image.nii.gz", np.ones(SHAPE, np.int16), AFFINE)
    return tmp_path / "image.nii.gz"


def read(path):
    return read_header(Entry("fixed_images", str(path)))


def test_a_good_header_is_read_without_a_word(path):
    header, found = read(path)
    assert found == []
    assert (header.shape, header.dtype, header.unit) == (SHAPE, "int16", "mm")
    np.testing.assert_allclose(header.grid.affine, AFFINE)
    assert header.grid.orientation == "PRS"


def test_channels_do_not_belong_to_the_grid(path):
    save_volume(path, np.ones((*SHAPE, 2), np.uint8), AFFINE)
    header, _ = read(path)
    assert header.shape == (*SHAPE, 2) and header.grid.shape == SHAPE


def test_a_2d_image_lies_in_a_grid_of_one_slice(path):
    save_volume(path, np.ones((5, 6), np.int16), AFFINE)
    header, found = read(path)
    assert found == [] and header.shape == (5, 6) and header.grid.shape == (5, 6, 1)


def test_a_singular_affine_is_a_problem(path):
    spoilt = spoil_affine(path, from_parts([[1, 2, 0], [1, 2, 0], [0, 0, 1]], [0] * 3))
    header, found = read(spoilt)
    assert header.grid is None
    [line] = texts(found, "places in space that cannot be")
    assert line.startswith(f"{spoilt}: expected an invertible affine, got a singular")


def test_a_spacing_of_zero_is_a_problem(path):
    spoilt = spoil_affine(path, np.diag([1, 0, 3, 1]))
    _, found = read(spoilt)
    [line] = texts(found, "places in space that cannot be")
    assert "expected voxel sides > 0, got a spacing of [1.0, 0.0, 3.0] mm" in line


@pytest.mark.parametrize("unit", ["micron", "meter"])
def test_a_unit_other_than_mm_is_a_problem(path, unit):
    change(path, unit=unit)
    header, found = read(path)
    assert header.unit == unit and titles(found) == titles(found, "problem")
    assert f"expected lengths in mm, got a header in {unit}" in found[0].text


def test_forms_that_differ_are_a_warning(path):
    image = nib.load(path)
    image.header.set_qform(from_parts(AFFINE[:3, :3], (4, 5, 7.5)), code=1)
    nib.save(image, path)
    _, found = read(path)
    [line] = texts(found, "headers that readers differ on")
    assert titles(found, "problem") == set()
    assert "sform and qform name different places (by up to 1.5 mm)" in line


def test_forms_without_a_code_are_a_warning(path):
    image = nib.Nifti1Image(np.ones(SHAPE, np.int16), None)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    _, found = read(path)
    [line] = texts(found, "headers that readers differ on")
    assert "sform and qform are both without a code" in line


def test_a_file_that_cannot_be_read_is_a_problem(path):
    path.write_bytes(b"no image")
    header, found = read(path)
    assert header is None
    [line] = texts(found, "files that cannot be read")
    assert line.startswith(f"{path}: cannot be read (")


def test_hdf5_has_a_place_where_it_has_the_attribute(tmp_path):
    path = tmp_path / "fixed_images.h5"
    with h5py.File(path, "w") as file:
        file["a"] = np.ones(SHAPE, np.float32)
        file["b"] = np.ones(SHAPE, np.float32)
        file["b"].attrs["affine"] = AFFINE
    without, found = read_header(Entry("fixed_images", str(path), "a"))
    assert found == [] and without.unit == "-"
    assert not without.place.has_affine and not without.place.has_orientation
    assert without.grid is not None and without.known_grid is None
    header, found = read_header(Entry("fixed_images", str(path), "b"))
    assert found == [] and header.known_grid.orientation == "PRS"
    _, found = read_header(Entry("fixed_images", str(path), "c"))
    assert "key c: cannot be read" in found[0].text


def test_a_picture_states_its_shape_and_type_but_no_place(tmp_path):
    path = save_png(tmp_path / "a.png", picture(bits=16))
    header, found = read(path)
    assert found == [] and header.place.layout == "picture"
    assert (header.shape, header.dtype, header.unit) == ((7, 5), "uint16", "-")
    assert header.grid.shape == (7, 5, 1) and header.known_grid is None
    path.write_bytes(b"no image")
    header, [finding] = read(path)
    assert header is None and f"{path}: cannot be read as a PNG (" in finding.text
