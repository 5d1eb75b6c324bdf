"""Tests of deepreg_meta/geometry/volume_file.py; reference: SimpleITK and nibabel."""

import gzip
import logging

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from scipy.spatial.transform import Rotation

from deepreg_meta.dataset.stored import read_place
from deepreg_meta.geometry.affine import GeometryError, from_parts
from deepreg_meta.geometry.volume_file import check_unit, read_volume, save_volume
from deepreg_meta.inspection.entries import Entry
from deepreg_meta.inspection.header import read_header
from tests.unit.geometry.places import PLANES

SHAPE = (5, 6, 7)
TURN = Rotation.from_euler("xyz", (20, -35, 50), degrees=True).as_matrix()
OBLIQUE = from_parts(TURN @ np.diag([0.8, 1.3, 2.5]), (-12, 30, 7))
# where the numbers of a header begin, in bytes
DATATYPE, SCALE, UNITS, SFORM = 70, 112, 123, 280


def spoil(path, offset, values, kind="<f4"):
    """Overwrite numbers in the header of a .nii file, which nibabel would not write."""
    data = bytearray(path.read_bytes())
    new = np.asarray(values, kind).tobytes()
    data[offset : offset + len(new)] = new
    path.write_bytes(bytes(data))


@pytest.fixture
def volume(rng):
    return rng.uniform(-3, 3, SHAPE).astype(np.float32)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_what_is_written_is_read_back_with_its_place(tmp_path, volume, suffix):
    path = tmp_path / f"image{suffix}"
    save_volume(path, volume, OBLIQUE)
    found = read_volume(path)
    assert found.path == str(path) and found.grid.shape == SHAPE
    np.testing.assert_array_equal(found.voxels, volume)
    np.testing.assert_allclose(found.grid.affine, OBLIQUE, atol=1e-5)
    np.testing.assert_allclose(found.grid.spacing_mm, [0.8, 1.3, 2.5], rtol=1e-5)


def test_both_forms_of_the_header_and_the_unit_are_set(tmp_path, volume):
    save_volume(tmp_path / "image.nii.gz", volume, OBLIQUE)
    header = nib.load(tmp_path / "image.nii.gz").header
    assert header.get_xyzt_units()[0] == "mm"
    for form, code in (header.get_sform(coded=True), header.get_qform(coded=True)):
        np.testing.assert_allclose(form, OBLIQUE, atol=1e-4)
        assert code == 1


def test_simpleitk_puts_the_voxels_in_the_same_places(tmp_path, volume):
    """Its axes are L, P and S."""
    save_volume(tmp_path / "image.nii.gz", volume, OBLIQUE)
    image = sitk.ReadImage(str(tmp_path / "image.nii.gz"))
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(image).transpose(2, 1, 0), volume
    )
    point = image.TransformContinuousIndexToPhysicalPoint([1.0, 2.5, 3.0])
    expected = (OBLIQUE @ [1, 2.5, 3, 1])[:3] * [-1, -1, 1]
    np.testing.assert_allclose(point, expected, atol=1e-4)


@pytest.mark.parametrize(
    ("before", "after"),
    [(bool, np.uint8), (np.int64, np.int32), (np.uint64, np.int32),
     (np.int16, np.int16), (np.float32, np.float32)],
)  # fmt: skip
def test_types_that_readers_lack_are_written_as_ones_they_know(
    tmp_path, rng, before, after
):
    label = rng.integers(0, 2, SHAPE).astype(before)
    save_volume(tmp_path / "label.nii.gz", label, OBLIQUE)
    image = nib.load(tmp_path / "label.nii.gz")
    assert image.get_data_dtype() == after
    np.testing.assert_array_equal(image.get_fdata(), label)
    assert sitk.ReadImage(str(tmp_path / "label.nii.gz")).GetSize() == SHAPE


def test_a_sheared_affine_is_written_as_sform_alone_and_said(tmp_path, volume, caplog):
    sheared = from_parts([[1, 0.4, 0], [0, 1, 0], [0, 0, 2]], (1, 2, 3))
    with caplog.at_level(logging.WARNING):
        save_volume(tmp_path / "sheared.nii.gz", volume, sheared)
    assert "only the sform is written" in caplog.text
    assert int(nib.load(tmp_path / "sheared.nii.gz").header["qform_code"]) == 0
    found = read_volume(tmp_path / "sheared.nii.gz")
    np.testing.assert_allclose(found.grid.affine, sheared, atol=1e-6)


def test_slope_and_intercept_are_applied(tmp_path):
    """2 * 3 - 1."""
    image = nib.Nifti1Image(np.full(SHAPE, 3, np.int16), np.eye(4))
    nib.save(image, tmp_path / "scaled.nii")
    spoil(tmp_path / "scaled.nii", SCALE, [2.0, -1.0])
    assert (read_volume(tmp_path / "scaled.nii").voxels == 5).all()


def test_channels_stay_behind_the_three_axes(tmp_path, rng):
    labels = rng.integers(0, 2, (*SHAPE, 3), dtype=np.uint8)
    save_volume(tmp_path / "labels.nii.gz", labels, OBLIQUE)
    found = read_volume(tmp_path / "labels.nii.gz")
    np.testing.assert_array_equal(found.voxels, labels)
    assert found.grid.shape == SHAPE


def test_a_2d_image_gets_a_third_axis(tmp_path):
    image = nib.Nifti1Image(np.ones((5, 6), np.float32), np.diag([2, 3, 4, 1.0]))
    nib.save(image, tmp_path / "flat.nii.gz")
    found = read_volume(tmp_path / "flat.nii.gz")
    assert found.voxels.shape == found.grid.shape == (5, 6, 1)
    np.testing.assert_allclose(found.grid.spacing_mm[:2], [2, 3])


def test_formats_without_units_pass(tmp_path, volume):
    nib.save(nib.MGHImage(volume, OBLIQUE), tmp_path / "brain.mgz")
    found = read_volume(tmp_path / "brain.mgz")
    np.testing.assert_allclose(found.grid.affine, OBLIQUE, atol=1e-4)
    check_unit(object(), "anything")


def with_unit(path, unit):
    image = nib.Nifti1Image(np.ones(SHAPE, np.float32), np.eye(4))
    image.header.set_xyzt_units(unit)
    nib.save(image, path)
    return path


@pytest.mark.parametrize("unit", ["meter", "micron"])
def test_a_unit_other_than_mm_is_refused(tmp_path, unit):
    path = with_unit(tmp_path / "far.nii.gz", unit)
    with pytest.raises(GeometryError, match=f"far.nii.gz: .* in mm, got .* in {unit}"):
        read_volume(path)


@pytest.mark.parametrize("unit", ["mm", "unknown"])
def test_mm_and_no_unit_are_mm(tmp_path, unit):
    found = read_volume(with_unit(tmp_path / "near.nii.gz", unit))
    np.testing.assert_array_equal(found.grid.spacing_mm, [1, 1, 1])


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.diag([1.0, 0, 2]).tolist(), "voxel sides > 0, got a spacing"),
        ([[1, 1, 0], [1, 1, 0], [0, 0, 1]], "invertible affine, got a singular one"),
        ([[np.nan, 0, 0], [0, 1, 0], [0, 0, 1]], "expected a finite affine"),
    ],
)
def test_a_place_that_cannot_be_is_refused_with_the_name(tmp_path, rows, message):
    path = tmp_path / "bad.nii"
    save_volume(path, np.ones(SHAPE, np.float32), np.eye(4))
    for row, values in enumerate(rows):
        spoil(path, SFORM + 16 * row, [*values, 0])
    with pytest.raises(GeometryError, match=f"bad.nii.*{message}"):
        read_volume(path)


def test_a_missing_file_and_a_folder_are_named(tmp_path):
    for path in (tmp_path / "none.nii.gz", tmp_path):
        with pytest.raises(FileNotFoundError, match=f"{path}: expected a file"):
            read_volume(path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".txt"])
@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x1f\x8bhalf"])
def test_a_file_that_holds_no_volume_is_named(tmp_path, suffix, content):
    path = tmp_path / f"garbage{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"garbage{suffix}: cannot be read"):
        read_volume(path)


def test_a_file_that_ends_too_early_is_named(tmp_path, volume):
    for suffix in (".nii", ".nii.gz"):
        path = tmp_path / f"short{suffix}"
        save_volume(path, volume, OBLIQUE)
        path.write_bytes(path.read_bytes()[:-60])
        with pytest.raises(ValueError, match=f"short{suffix}: cannot be read"):
            read_volume(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_damaged_header_or_stream_is_named(tmp_path, volume, suffix):
    """A type that NIfTI does not have; a block that is not one of a compressed file."""
    path = tmp_path / f"damaged{suffix}"
    if suffix == ".nii":
        save_volume(path, volume, OBLIQUE)
        spoil(path, DATATYPE, [999], "<i2")
    else:
        path.write_bytes(gzip.compress(b"")[:10] + b"\xff" * 500)
    with pytest.raises(ValueError, match=f"damaged{suffix}: cannot be read"):
        read_volume(path)
    header, [finding] = read_header(Entry("fixed image", str(path)))
    assert header is None and "cannot be read" in finding.text


def test_a_file_without_a_known_unit_code_is_named(tmp_path):
    """NIfTI has the codes 0 to 3 for lengths."""
    path = with_unit(tmp_path / "odd.nii", "mm")
    spoil(path, UNITS, [7], "<u1")
    with pytest.raises(ValueError, match="odd.nii: "):
        read_volume(path)


def test_a_single_row_of_voxels_is_no_volume(tmp_path):
    nib.save(nib.Nifti1Image(np.ones(5, np.float32), np.eye(4)), tmp_path / "row.nii")
    with pytest.raises(ValueError, match=r"row.nii: expected a volume .* got shape"):
        read_volume(tmp_path / "row.nii")


def test_a_picture_is_a_volume_of_one_slice(tmp_path, rng):
    pixels = rng.integers(0, 2**16, (6, 5)).astype(np.uint16)  # (rows, columns)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = read_volume(tmp_path / "a.png")
    assert found.layout == "picture" and found.grid.shape == (5, 6, 1)
    np.testing.assert_array_equal(found.voxels[..., 0], pixels.T)
    np.testing.assert_array_equal(found.grid.affine, np.diag([-1, -1, 1, 1]))
    with pytest.raises(FileNotFoundError, match="b.png: expected a file, found none"):
        read_volume(tmp_path / "b.png")


@pytest.mark.parametrize("name", PLANES)
def test_simpleitk_reads_an_image_of_two_axes_in_the_same_places(tmp_path, rng, name):
    grid = PLANES[name][0]
    image = rng.uniform(0, 9, grid.shape).astype(np.float32)
    save_volume(tmp_path / "a.nii.gz", image, grid.affine, is_planar=True)
    assert nib.load(tmp_path / "a.nii.gz").shape == grid.shape[:2]
    found = read_volume(tmp_path / "a.nii.gz")
    assert found.layout == "plane" and found.grid.is_same(grid)
    np.testing.assert_array_equal(found.voxels, image)
    itk = sitk.ReadImage(str(tmp_path / "a.nii.gz"))
    assert itk.GetDimension() == 2
    np.testing.assert_array_equal(sitk.GetArrayFromImage(itk).T, image[..., 0])
    for index in ((0, 0), (3, 0), (4, 5)):
        place = grid.to_world((*index, 0)) * [-1, -1, 1]
        found = itk.TransformIndexToPhysicalPoint(index)
        np.testing.assert_allclose(found, place[:2], atol=1e-5)


def test_an_image_of_two_axes_that_itk_wrote_lies_where_it_was(tmp_path, rng):
    """Whatever it writes of the third axis, which it has not."""
    itk = sitk.GetImageFromArray(rng.uniform(0, 9, (6, 5)).astype(np.float32))
    itk.SetOrigin((3.0, -7.0))
    itk.SetSpacing((0.5, 2.0))
    sitk.WriteImage(itk, str(tmp_path / "a.nii.gz"))
    found = read_volume(tmp_path / "a.nii.gz")
    assert found.layout == "plane" and found.grid.is_planar
    np.testing.assert_allclose(found.grid.to_world((0, 0, 0)), [-3, 7, 0])
    np.testing.assert_allclose(found.grid.to_world((2, 3, 0)), [-4, 1, 0])


@pytest.mark.parametrize(
    ("codes", "shift", "expected"),
    [((2, 1), 6.0, 6.0), ((1, 1), 6.0, 6.0), ((2, 0), 6.0, 0), ((0, 1), 6.0, 0),
     ((2, 1), 1e-3, 0)],
)  # fmt: skip
def test_forms_that_differ_are_seen_where_both_are_coded(
    tmp_path, codes, shift, expected
):
    """ITK takes another one than nibabel; rounding sets them apart a little."""
    image = nib.Nifti1Image(np.zeros((3, 4, 5), np.uint8), None)
    moved = np.diag([2.0, 2.0, 2.0, 1.0])
    image.set_sform(moved, codes[0])
    moved[0, 3] = shift
    image.set_qform(moved, codes[1])
    nib.save(image, tmp_path / "a.nii")
    assert read_volume(tmp_path / "a.nii").forms_apart == pytest.approx(expected)
    assert read_place(str(tmp_path / "a.nii")).forms_apart == pytest.approx(expected)


@pytest.mark.parametrize("unit", ["sec", "msec", "unknown"])
def test_a_time_step_is_kept(tmp_path, unit):
    image = nib.Nifti1Image(np.zeros((3, 4, 5, 6), np.uint8), np.eye(4))
    image.header.set_zooms((1, 1, 1, 0.8))
    image.header.set_xyzt_units("mm", unit)
    nib.save(image, tmp_path / "a.nii")
    found = read_volume(tmp_path / "a.nii")
    step = found.time_step
    save_volume(tmp_path / "b.nii", found.voxels, np.eye(4), time_step=step)
    header = nib.load(tmp_path / "b.nii").header
    assert header.get_zooms()[3] == np.float32(0.8)
    assert header.get_xyzt_units() == ("mm", unit)
    assert read_volume(tmp_path / "b.nii").time_step == step
