"""Tests of the place of voxels in space; reference: SimpleITK reading our files."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import tensorflow as tf
from scipy.spatial.transform import Rotation

from deepreg_meta import geometry
from deepreg_meta.layer.warp import sample

FIXED, MOVING = (5, 6, 7), (8, 7, 6)


def affine(angles_deg, spacing, origin, flip=(1, 1, 1)):
    matrix = np.eye(4)
    rotation = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    matrix[:3, :3] = rotation @ np.diag(np.multiply(spacing, flip))
    matrix[:3, 3] = origin
    return matrix


# fixed and moving grids: plain, oblique and anisotropic, left-handed
GRIDS = {
    "plain": (np.eye(4), np.eye(4)),
    "oblique": (
        affine((20, -35, 50), (0.8, 1.3, 2.5), (-12, 30, 7)),
        affine((-80, 15, 10), (1.1, 0.6, 1.9), (5, -3, 40)),
    ),
    "left-handed": (
        affine((0, 0, 90), (1, 2, 3), (3, 4, 5), flip=(-1, 1, 1)),
        affine((10, 5, 0), (2, 1, 1.5), (-9, 0, 2)),
    ),
}


@pytest.fixture(params=list(GRIDS))
def transform(request, rng, tmp_path):
    """Return a written transform: its parts, and the path of the field."""
    fixed, moving = GRIDS[request.param]
    ddf = rng.uniform(-0.6, 0.6, (*FIXED, 3)).astype(np.float32)
    # near the alignment of the centres, so that most of it lands in the moving image
    matrix = np.diag([1.3, 1.1, 0.8]) + rng.uniform(-0.1, 0.1, (3, 3))
    offset = (np.array(MOVING) - 1) / 2 - matrix @ ((np.array(FIXED) - 1) / 2)
    path = tmp_path / "field.nii.gz"
    displacement = geometry.displacement_lps_mm(ddf, matrix, offset, fixed, moving)
    geometry.save_displacement(path, displacement, fixed)
    return fixed, moving, ddf, matrix, offset, path


def read_transform(path):
    image = sitk.ReadImage(str(path), sitk.sitkVectorFloat64)
    return sitk.DisplacementFieldTransform(image)


def voxels(shape):
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)


def to_lps(points_ras):
    return points_ras * [-1.0, -1.0, 1.0]


def test_spacing_is_the_length_of_the_columns():
    oblique = GRIDS["oblique"][0]
    np.testing.assert_allclose(geometry.spacing_of(oblique), [0.8, 1.3, 2.5])


def test_apply_maps_points_by_the_affine():
    matrix = np.array([[0, 2.0, 0, 1], [3.0, 0, 0, 2], [0, 0, 4.0, 3], [0, 0, 0, 1]])
    # (2 * 2 + 1, 3 * 1 + 2, 4 * 3 + 3)
    np.testing.assert_array_equal(
        geometry.apply(matrix, np.array([[1, 2, 3]])), [[5, 5, 15]]
    )


def test_a_shift_of_one_voxel_is_its_spacing_in_lps():
    ddf = np.zeros((*FIXED, 3), np.float32)
    ddf[..., 0], ddf[..., 2] = 1.0, -2.0
    grid = np.diag([0.5, 2.0, 3.0, 1.0])
    field = geometry.displacement_lps_mm(ddf, np.eye(3), np.zeros(3), grid, grid)
    # (0.5, 0, -6) mm in RAS; x and y change their sign in LPS
    np.testing.assert_allclose(field[2, 3, 4], [-0.5, 0.0, -6.0], atol=1e-6)


def test_simpleitk_maps_points_where_the_transform_does(transform):
    fixed, moving, ddf, matrix, offset, path = transform
    field = read_transform(path)
    inside = [(0, 0, 0), (4, 5, 6), (2, 3, 4), (1, 0, 5)]
    for voxel in map(np.array, inside):
        moved = matrix @ (voxel + ddf[tuple(voxel)]) + offset
        expected = to_lps(geometry.apply(moving, moved))
        mapped = field.TransformPoint(to_lps(geometry.apply(fixed, voxel)).tolist())
        np.testing.assert_allclose(mapped, expected, atol=1e-4)


def test_simpleitk_resamples_to_our_warped_image(transform, rng, tmp_path):
    fixed, moving, ddf, matrix, offset, path = transform
    image = rng.uniform(1, 2, MOVING).astype(np.float32)
    geometry.save_volume(tmp_path / "moving.nii.gz", image, moving)
    geometry.save_volume(tmp_path / "fixed.nii.gz", np.zeros(FIXED, np.float32), fixed)
    read = [sitk.ReadImage(str(tmp_path / f"{n}.nii.gz")) for n in ("moving", "fixed")]
    itk = sitk.Resample(*read, read_transform(path), sitk.sitkLinear, 0.0)
    itk = sitk.GetArrayFromImage(itk).transpose(2, 1, 0)
    locations = (voxels(FIXED) + ddf) @ matrix.T + offset
    ours = sample(tf.constant(image[None]), tf.constant(locations[None], tf.float32))[0]
    # a location within rounding of the image's edge may fall on either side of it
    edge = np.abs(np.abs(locations - (np.array(MOVING) - 1) / 2) - np.array(MOVING) / 2)
    clear = np.min(edge, axis=-1) > 1e-3
    assert np.mean(clear) > 0.95 and np.mean(itk > 0) > 0.3
    np.testing.assert_allclose(ours.numpy()[clear], itk[clear], atol=1e-4)


def test_the_field_is_a_vector_image_on_the_fixed_grid(transform):
    fixed, path = transform[0], transform[-1]
    image = nib.load(path)
    assert image.shape == (*FIXED, 1, 3)
    assert int(image.header["intent_code"]) == geometry.NIFTI_INTENT_VECTOR
    assert image.header.get_xyzt_units()[0] == "mm"
    for form in (image.get_sform(), image.get_qform()):
        np.testing.assert_allclose(form, fixed, atol=1e-5)


def test_a_volume_keeps_its_place_and_masks_become_labels(tmp_path, rng):
    path, place = tmp_path / "label.nii.gz", GRIDS["oblique"][0]
    mask = rng.random(FIXED) > 0.5
    geometry.save_volume(path, mask, place)
    image = nib.load(path)
    assert image.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(image.get_fdata(), mask)
    itk = sitk.ReadImage(str(path))
    point = itk.TransformContinuousIndexToPhysicalPoint([1.0, 2.5, 3.0])
    expected = to_lps(geometry.apply(place, np.array([1.0, 2.5, 3.0])))
    np.testing.assert_allclose(point, expected, atol=1e-4)


def test_a_sheared_affine_is_written_as_sform_alone_and_said(tmp_path, caplog):
    sheared = np.eye(4)
    sheared[0, 1] = 0.4
    path = tmp_path / "sheared.nii.gz"
    geometry.save_volume(path, np.zeros(FIXED, np.float32), sheared)
    assert "only the sform is written" in caplog.text
    image = nib.load(path)
    np.testing.assert_allclose(image.affine, sheared, atol=1e-6)
    assert int(image.header["qform_code"]) == 0
