"""Tests of displacement fields in NIfTI files; reference: DeepReg's own warping."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from deepreg_meta.geometry.affine import FLIP, GeometryError
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.nifti_field import read_field, save_deepreg_ddf, write_field
from deepreg_meta.geometry.resample import resample
from deepreg_meta.geometry.transform import Affine, Field, Transform
from deepreg_meta.geometry.transform_file import load_transform, save_transform
from tests.unit.geometry.places import (
    FIXED,
    PAIRS,
    PLANES,
    alignment,
    rough_field,
    voxels,
    write_nifti,
)

FIXED_GRID, MOVING_GRID = PAIRS["oblique"]


@pytest.fixture
def ddf(rng):
    """Return a field in DeepReg's layout that ends inside the moving grid."""
    goals = rng.uniform(1.05, np.subtract(MOVING_GRID.shape, 2.05), (*FIXED, 3))
    return (goals - voxels(FIXED)).astype(np.float32)


def test_the_field_is_a_vector_image_on_its_grid(rng, tmp_path):
    field = rough_field(FIXED_GRID, rng)
    write_field(tmp_path / "t.nii.gz", field)
    image = nib.load(tmp_path / "t.nii.gz")
    assert image.shape == (*FIXED, 1, 3) and image.get_data_dtype() == np.float32
    assert int(image.header["intent_code"]) == 1007
    assert image.header.get_xyzt_units()[0] == "mm"
    for form in (image.get_sform(), image.get_qform()):
        np.testing.assert_allclose(form, FIXED_GRID.affine, atol=1e-5)
    stored = image.get_fdata()[:, :, :, 0]
    np.testing.assert_allclose(stored, field.vectors * [-1, -1, 1], atol=1e-6)
    read = read_field(tmp_path / "t.nii.gz").parts[0]
    np.testing.assert_array_equal(read.vectors, field.vectors)


def test_in_two_dimensions_the_third_component_is_left_out(rng, tmp_path):
    grid = PLANES["turned in the plane"][0]
    field = rough_field(grid, rng)
    field.vectors[..., 2] = 0
    write_field(tmp_path / "t.nii.gz", field, dimension=2)
    image = nib.load(tmp_path / "t.nii.gz")
    assert image.shape == (9, 7, 1, 1, 2) and int(image.header["intent_code"]) == 1007
    stored = image.get_fdata()[:, :, :, 0]
    np.testing.assert_allclose(stored, -field.vectors[..., :2], atol=1e-6)
    read = read_field(tmp_path / "t.nii.gz").parts[0]
    np.testing.assert_array_equal(read.vectors, field.vectors)
    np.testing.assert_allclose(read.grid.affine, grid.affine, atol=1e-5)


def test_itk_takes_a_field_of_one_slice_for_two_axes_and_its_h5_for_three(
    rng, tmp_path
):
    """Should ITK read it some day, the advice in the documentation may go."""
    grid = Grid((5, 6, 1), np.diag([-1.0, -2.0, 3.0, 1.0]))
    field = rough_field(grid, rng)
    write_field(tmp_path / "t.nii.gz", field)
    image = sitk.ReadImage(str(tmp_path / "t.nii.gz"))
    assert (image.GetDimension(), image.GetNumberOfComponentsPerPixel()) == (2, 3)
    with pytest.raises(RuntimeError, match="same as the dimension"):
        sitk.DisplacementFieldTransform(sitk.Cast(image, sitk.sitkVectorFloat64))
    loaded = load_transform(tmp_path / "t.nii.gz")
    save_transform(tmp_path / "t.h5", loaded, grid)
    itk = sitk.ReadTransform(str(tmp_path / "t.h5"))
    found = np.array(itk.TransformPoint((3.0, 4.0, 0.0)))  # LPS, of voxel (3, 2, 0)
    expected = [3.0, 4.0, 0.0] + field.vectors[3, 2, 0] * [-1, -1, 1]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("name", list(PAIRS))
def test_deepreg_warps_to_our_image_with_the_field_in_its_layout(name, rng, tmp_path):
    """In the interior: at the border DeepReg's sampling differs from ITK's."""
    from deepreg_meta.stack import require_stack

    require_stack()
    from deepreg.model.layer_util import warp_image_ddf

    fixed, moving = PAIRS[name]
    transform = Transform((rough_field(fixed, rng, 0.3), alignment(fixed, moving, rng)))
    path = tmp_path / "ddf.nii.gz"
    save_deepreg_ddf(path, transform, fixed, moving)
    stored = np.asarray(nib.load(path).dataobj, dtype=np.float32)
    assert stored.shape == (*FIXED, 3)
    image = rng.uniform(1, 2, moving.shape).astype(np.float32)
    deepreg = warp_image_ddf(image[None], stored[None], None).numpy()[0]
    ours = resample(image, moving, fixed, transform)
    places = voxels(FIXED) + stored
    upper = np.subtract(moving.shape, 1.05)
    is_inner = ((places > 0.05) & (places < upper)).all(axis=-1)
    assert is_inner.mean() > 0.3
    np.testing.assert_allclose(ours[is_inner], deepreg[is_inner], atol=1e-4)


def test_a_shift_of_half_a_moving_voxel_is_that_in_deepregs_layout(tmp_path):
    """With 2 mm voxels against 4 mm, voxel i lies at (i * 2 + 2) / 4 = i / 2 + 0.5."""
    fixed = Grid(FIXED, np.diag([2.0, 2.0, 2.0, 1.0]))
    moving = Grid((4, 4, 4), np.diag([4.0, 4.0, 4.0, 1.0]))
    shift = np.eye(4)
    shift[0, 3] = 2.0
    path = tmp_path / "ddf.nii"
    save_deepreg_ddf(path, Transform((Affine(shift),)), fixed, moving)
    image = nib.load(path)
    np.testing.assert_allclose(image.affine, fixed.affine)
    # (3 / 2 + 0.5 - 3, 4 / 2 - 4, 5 / 2 - 5)
    np.testing.assert_allclose(image.get_fdata()[3, 4, 5], [-1.0, -2.0, -2.5])


def test_deepregs_layout_is_read_back_as_the_same_transform(ddf, rng, tmp_path):
    """Both where the header says the place and where, as in DeepReg, it does not."""
    points = FIXED_GRID.to_world(voxels(FIXED))
    expected = MOVING_GRID.to_world(voxels(FIXED) + ddf)
    for header in (FIXED_GRID.affine, np.eye(4)):
        path = write_nifti(tmp_path / "ddf.nii.gz", ddf, header, intent=0)
        transform = read_field(path, FIXED_GRID, MOVING_GRID)
        np.testing.assert_allclose(transform.map_points(points), expected, atol=1e-3)
    again = tmp_path / "again.nii.gz"
    save_deepreg_ddf(again, transform, FIXED_GRID, MOVING_GRID)
    np.testing.assert_allclose(nib.load(again).get_fdata(), ddf, atol=1e-4)


def test_a_placed_header_counts_more_than_the_fixed_grid(ddf, tmp_path):
    path = write_nifti(tmp_path / "ddf.nii.gz", ddf, FIXED_GRID.affine, intent=0)
    transform = read_field(path, Grid(FIXED, np.diag([2.0, 2, 2, 1])), MOVING_GRID)
    np.testing.assert_allclose(
        transform.parts[0].grid.affine, FIXED_GRID.affine, atol=1e-5
    )


def test_without_any_place_voxels_are_taken_for_mm_and_it_is_said(
    ddf, tmp_path, caplog
):
    path = write_nifti(tmp_path / "ddf.nii.gz", ddf, np.eye(4), intent=0)
    transform = read_field(path, None, MOVING_GRID)
    expected = MOVING_GRID.to_world([1, 2, 3] + ddf[1, 2, 3])
    np.testing.assert_allclose(transform.map_points([1, 2, 3]), expected, atol=1e-4)
    assert "voxel indices are taken for mm" in caplog.text


def test_a_header_without_any_form_is_no_place(ddf, tmp_path):
    """nibabel would lay such an image around the origin."""
    image = nib.Nifti1Image(ddf, None)
    image.header.set_zooms((2.0, 3.0, 4.0, 1.0))
    nib.save(image, tmp_path / "ddf.nii")
    transform = read_field(tmp_path / "ddf.nii", FIXED_GRID, MOVING_GRID)
    np.testing.assert_array_equal(transform.parts[0].grid.affine, FIXED_GRID.affine)


@pytest.mark.parametrize("is_identity", [True, False])
def test_a_deformation_field_of_spm_holds_places_in_ras(is_identity, rng, tmp_path):
    """Of an affine map, which a field on voxels gives back between them too."""
    matrix = np.eye(4)
    if not is_identity:
        matrix = alignment(FIXED_GRID, MOVING_GRID, rng).matrix
    transform = Transform((Affine(matrix),))
    places = transform.map_points(FIXED_GRID.to_world(voxels(FIXED)))
    places = places.astype(np.float32)[..., None, :]
    path = write_nifti(tmp_path / "y_t1.nii", places, FIXED_GRID.affine, name="Mapping")
    points = FIXED_GRID.to_world(rng.uniform(0, np.subtract(FIXED, 1), (20, 3)))
    found = read_field(path).map_points(points)
    np.testing.assert_allclose(found, transform.map_points(points), atol=1e-4)
    places[1, 2, 3] = np.nan
    write_nifti(path, places, FIXED_GRID.affine, name="Mapping")
    with pytest.raises(GeometryError, match=r"y_t1.nii: expected a finite .*got 1 "):
        read_field(path)


def test_other_names_of_the_intent_leave_displacements_what_they_are(rng, tmp_path):
    vectors = rng.normal(size=(*FIXED, 1, 3)).astype(np.float32)
    path = tmp_path / "t.nii.gz"
    write_nifti(path, vectors, FIXED_GRID.affine, name="mine")
    [field] = read_field(path).parts
    np.testing.assert_array_equal(field.vectors, vectors[..., 0, :] * FLIP)


def test_intent_1006_is_refused(rng, tmp_path):
    vectors = rng.normal(size=(*FIXED, 1, 3)).astype(np.float32)
    path = write_nifti(tmp_path / "t.nii.gz", vectors, FIXED_GRID.affine, intent=1006)
    message = r"t.nii.gz: expected intent code 1007 .* ITK would flip x and y .* 1007"
    with pytest.raises(GeometryError, match=message):
        read_field(path)


@pytest.mark.parametrize(
    "shape, intent, name",
    [
        ((*FIXED, 1, 2), 1007, ""),
        ((*FIXED, 2, 3), 1007, ""),
        ((*FIXED, 3), 1007, ""),
        ((*FIXED, 1, 3), 0, ""),
        ((*FIXED, 2), 0, ""),
        (FIXED, 0, ""),
        ((*FIXED, 3), 2006, ""),
        # NiftyReg's fields hold places, in RAS
        ((*FIXED, 1, 3), 1007, "NREG_TRANS"),
    ],
)
def test_other_layouts_are_refused(shape, intent, name, tmp_path):
    path = tmp_path / "t.nii.gz"
    write_nifti(path, np.ones(shape, np.float32), np.eye(4), intent, name=name)
    with pytest.raises(GeometryError, match=r"t.nii.gz: expected a displacement field"):
        read_field(path, FIXED_GRID, MOVING_GRID)


def test_fields_that_cannot_be_are_refused(ddf, tmp_path):
    path = tmp_path / "t.nii.gz"
    with pytest.raises(GeometryError, match=r"t.nii.gz: .* name the moving image too"):
        read_field(write_nifti(path, ddf, np.eye(4), intent=0))
    with pytest.raises(GeometryError, match=r"t.nii.gz: expected lengths in mm, got"):
        read_field(write_nifti(path, ddf[..., None, :], np.eye(4), unit="meter"))
    with pytest.raises(GeometryError, match=r"grid, \(8, 7, 6\), got \(5, 6, 7\)"):
        read_field(
            write_nifti(path, ddf, np.eye(4), intent=0), MOVING_GRID, MOVING_GRID
        )
    ddf[1, 2, 3, 1] = np.inf
    for vectors, intent in ((ddf, 0), (ddf[..., None, :], 1007)):
        write_nifti(path, vectors, FIXED_GRID.affine, intent)
        with pytest.raises(GeometryError, match=r"t.nii.gz: expected a finite .*got 1"):
            read_field(path, None, MOVING_GRID)


def test_a_transform_that_is_not_finite_is_not_written(rng, tmp_path):
    field = rough_field(FIXED_GRID, rng)
    field.vectors[0, 0, 0] = np.nan
    transform = Transform((Field(FIXED_GRID, field.vectors),))
    with pytest.raises(GeometryError, match=r"ddf.nii.gz: expected a finite .* got 1 "):
        save_deepreg_ddf(tmp_path / "ddf.nii.gz", transform, FIXED_GRID, MOVING_GRID)
    assert not list(tmp_path.iterdir())
