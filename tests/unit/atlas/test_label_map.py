"""Tests of deepreg_meta/atlas/label_map.py."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from deepreg_meta.atlas.label_map import (
    check_headers,
    header_problems,
    read_label_map,
    save_label_map,
)
from deepreg_meta.dataset.image_folder import ImageFiles
from deepreg_meta.geometry.volume_file import read_volume
from tests.unit.geometry.places import affine

SHAPE = (5, 6, 7)
PLACE = affine((20, -35, 50), (0.8, 1.3, 2.5), (-12, 30, 7))


@pytest.fixture
def files(tmp_path, rng):
    """:return: an image, and a map that is stored as floating point numbers."""
    image, label = tmp_path / "a.nii.gz", tmp_path / "a_label.nii.gz"
    nib.save(nib.Nifti1Image(rng.random(SHAPE), PLACE), image)
    voxels = rng.integers(0, 4, SHAPE).astype(np.float32)
    nib.save(nib.Nifti1Image(voxels[..., None], PLACE), label)
    return ImageFiles("a", image, label)


def rewrite(path, voxels=None, place=None):
    image = nib.load(path)
    voxels = np.asarray(image.dataobj) if voxels is None else voxels
    nib.save(nib.Nifti1Image(voxels, image.affine if place is None else place), path)


def test_a_map_is_read_as_whole_numbers(files):
    """A last axis of one channel goes."""
    found = read_label_map(files)
    assert found.shape == SHAPE and found.dtype == np.int32
    stored = np.asarray(nib.load(files.label).dataobj)[..., 0]
    np.testing.assert_array_equal(found, stored)


@pytest.mark.parametrize("value", [0.5, np.nan])
def test_values_between_whole_numbers_are_refused(files, value):
    voxels = np.zeros(SHAPE, np.float32)
    voxels[1, 2, 3] = value
    rewrite(files.label, voxels)
    with pytest.raises(ValueError, match=r"a_label.*: expected an index map of whole"):
        read_label_map(files)


def test_a_map_on_another_grid_is_refused(files):
    rewrite(files.label, np.zeros((5, 6, 8), np.uint8))
    message = r"on the grid of its image, \(5, 6, 7\), got \(5, 6, 8\)"
    with pytest.raises(ValueError, match=message):
        read_label_map(files)


def test_channels_are_refused(files):
    rewrite(files.label, np.zeros((*SHAPE, 2), np.uint8))
    with pytest.raises(ValueError, match=r"got \(5, 6, 7, 2\)"):
        read_label_map(files)


def test_a_map_elsewhere_is_refused(files):
    place = PLACE.copy()
    place[0, 3] += 3
    rewrite(files.label, place=place)
    [problem] = header_problems(files)
    assert "expected the place of its image" in problem and "3 mm apart" in problem
    with pytest.raises(ValueError, match="expected the place of its image"):
        read_label_map(files)


def test_an_image_without_label_has_no_map(files):
    with pytest.raises(ValueError, match="expected a label beside it"):
        read_label_map(files._replace(label=None))


def test_the_problems_of_all_files_are_told_at_once(files, tmp_path):
    broken = tmp_path / "broken.nii.gz"
    broken.write_text("no volume")
    rewrite(files.label, np.zeros((5, 6, 8), np.uint8))
    others = [ImageFiles("b", broken, None), files._replace(label=None)]
    with pytest.raises(ValueError, match="2 problems with files") as error:
        check_headers([files, *others])
    assert "a_label.nii.gz" in str(error.value) and "broken.nii.gz" in str(error.value)
    check_headers(others[1:])


# ---- written ----


@pytest.mark.parametrize(
    ("top", "dtype"), [(2, np.uint8), (1000, np.uint16), (70_000, np.uint32)]
)
def test_a_map_lies_in_the_space_of_its_image(files, tmp_path, rng, top, dtype):
    """For ITK too; in the smallest type that holds it, without the image's window."""
    labels = rng.integers(0, 2, SHAPE).astype(np.int32) * top
    image = nib.load(files.image)
    image.header["cal_max"] = 700
    image.header["descrip"] = b"a scan"
    nib.save(image, files.image)
    save_label_map(tmp_path, "map", labels, files.image)
    written = nib.load(tmp_path / "map.nii.gz")
    assert written.get_data_dtype() == dtype
    np.testing.assert_array_equal(np.asarray(written.dataobj), labels)
    assert written.header["cal_max"] == 0 and written.header["descrip"] == b"a scan"
    for code in ("sform_code", "qform_code"):
        assert written.header[code] == image.header[code]
    paths = str(tmp_path / "map.nii.gz"), str(files.image)
    own, other = (sitk.ReadImage(path) for path in paths)
    assert own.GetOrigin() == other.GetOrigin()
    assert own.GetSpacing() == other.GetSpacing()
    assert own.GetDirection() == other.GetDirection()


def test_a_header_that_states_no_place_still_states_none(files, tmp_path):
    image = nib.load(files.image)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, files.image)
    save_label_map(tmp_path, "map", np.ones(SHAPE, np.int32), files.image)
    header = nib.load(tmp_path / "map.nii.gz").header
    assert header["sform_code"] == header["qform_code"] == 0


def test_negative_values_are_kept(files, tmp_path):
    labels = np.full(SHAPE, -1, np.int32)
    labels[0] = 200
    save_label_map(tmp_path, "map", labels, files.image)
    found = read_volume(tmp_path / "map.nii.gz").voxels
    np.testing.assert_array_equal(found, labels)


def test_the_map_of_an_image_of_two_axes_has_two(tmp_path):
    path = tmp_path / "flat.nii.gz"
    nib.save(nib.Nifti1Image(np.ones((5, 6)), np.eye(4)), path)
    save_label_map(tmp_path, "map", np.ones((5, 6, 1), np.int32), path)
    assert nib.load(tmp_path / "map.nii.gz").shape == (5, 6)
    label = ImageFiles("flat", path, tmp_path / "map.nii.gz")
    assert read_label_map(label).shape == (5, 6, 1)


def test_the_map_of_a_picture_is_a_picture_too(tmp_path, rng):
    """Axis 0 to the right, as in ITK."""
    path = tmp_path / "a.png"
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(path)
    labels = rng.integers(0, 3, (6, 4, 1)).astype(np.int32)
    save_label_map(tmp_path, "map", labels, path)
    pixels = np.asarray(Image.open(tmp_path / "map.png"))
    np.testing.assert_array_equal(pixels.T, labels[..., 0])
    found = read_label_map(ImageFiles("a", path, tmp_path / "map.png"))
    np.testing.assert_array_equal(found, labels)
    assert nib.load(tmp_path / "map.nii.gz").shape == (6, 4)


def test_a_format_without_such_a_header_gets_the_place(files, tmp_path):
    image = tmp_path / "a.mgz"
    nib.save(nib.MGHImage(np.ones(SHAPE, np.float32), PLACE), image)
    save_label_map(tmp_path, "map", np.ones(SHAPE, np.int32), image)
    written = nib.load(tmp_path / "map.nii.gz")
    np.testing.assert_allclose(written.affine, PLACE, atol=1e-4)
