"""Laws, hand-derived values and errors of deepreg_meta.evaluate.metric.jacobian."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation

from deepreg_meta.evaluate import metric
from deepreg_meta.geometry.affine import apply

SHAPE = (5, 6, 7)


def grid(shape=SHAPE):
    """Voxel coordinates, shape (*shape, 3)."""
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).astype(
        float
    )


def test_a_scaling_by_a_tenth_grows_every_voxel_by_a_tenth_cubed():
    np.testing.assert_allclose(metric.jacobian_determinant(0.1 * grid()), 1.331)


def test_the_determinant_of_a_linear_field_includes_its_shear_and_the_alignment():
    gradient = np.array([[0.1, 0.2, 0.0], [0.3, -0.2, 0.1], [0.0, 0.5, 0.4]])
    expected = np.linalg.det(np.eye(3) + gradient)
    ddf = grid() @ gradient.T
    np.testing.assert_allclose(metric.jacobian_determinant(ddf), expected)
    doubled = metric.jacobian_determinant(ddf, A=np.diag([2, 1, 1]))
    np.testing.assert_allclose(doubled, 2 * expected)


@pytest.mark.parametrize("flat", [0, 1, 2])
def test_a_flat_field_has_the_determinant_of_its_plane(flat):
    shape = [5, 6, 7]
    shape[flat] = 1
    ddf = 0.1 * grid(tuple(shape))
    ddf[..., flat] = np.random.default_rng(0).normal(size=shape)  # must be ignored
    np.testing.assert_allclose(metric.jacobian_determinant(ddf), 1.21)


def test_a_field_that_reflects_one_axis_folds_everywhere():
    ddf = -2.0 * grid() * [1, 0, 0]  # x -> -x
    found = metric.fold_statistics(ddf)
    assert found["share_nonpositive"] == 1.0
    assert found["min"] == pytest.approx(-1.0)
    assert math.isnan(found["sd_log"])


def test_fold_statistics_of_a_field_with_two_known_slopes():
    ddf = np.zeros((8, 6, 7, 3))
    ddf[..., 0] = np.array([0, 0, 0, 0, 1, 2, 3, 4.0])[:, None, None]
    # d u / d x by central differences: 0, 0, 0, 1/2, 1, 1, 1, 1
    logs = np.log([1, 1, 1, 1.5, 2, 2, 2, 2])
    found = metric.fold_statistics(ddf)
    assert found["share_nonpositive"] == 0.0 and found["min"] == 1.0
    assert found["sd_log"] == pytest.approx(logs.std())


def test_a_share_of_folds_is_counted_by_voxel_and_nan_counts_as_folded():
    ddf = np.zeros((5, 6, 7, 3))
    ddf[0, ..., 0] = 2.0  # one-sided slope -2 at 0, central slope -1 at 1
    found = metric.fold_statistics(ddf)
    assert found["share_nonpositive"] == pytest.approx(2 / 5)
    assert metric.fold_statistics(ddf * np.nan)["share_nonpositive"] == 1.0


@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 1, 7)])
def test_a_linear_map_of_space_has_its_determinant_under_every_oblique_affine(
    shape, rng
):
    gradient = np.array([[0.1, 0.2, 0.0], [0.3, -0.2, 0.1], [0.0, 0.5, 0.4]])
    affine = np.eye(4)
    affine[:3, :3] = Rotation.from_rotvec([0.3, -0.5, 0.7]).as_matrix()
    affine[:3, :3] *= [0.7, 1.9, 1.2]
    affine[0, 1] += 0.2  # sheared
    affine[:3, 3] = rng.normal(size=3)
    points = apply(affine, grid(shape))
    found = metric.jacobian_determinant_world(points @ gradient.T, affine)
    if 1 not in shape:
        np.testing.assert_allclose(found, np.linalg.det(np.eye(3) + gradient))
        return
    # the plane's own map: in voxels, without the row and column of the flat axis
    matrix = affine[:3, :3]
    voxels = np.linalg.inv(matrix) @ (np.eye(3) + gradient) @ matrix
    np.testing.assert_allclose(found, np.linalg.det(voxels[np.ix_([0, 2], [0, 2])]))


def test_a_field_in_mm_has_the_determinant_of_its_displacement_in_voxels(rng):
    ddf = 0.3 * rng.normal(size=(*SHAPE, 3))
    affine = np.diag([-0.5, 2.0, 3.0, 1.0])
    np.testing.assert_allclose(
        metric.jacobian_determinant_world(ddf * [-0.5, 2.0, 3.0], affine),
        metric.jacobian_determinant(ddf),
    )


def test_the_determinant_equals_that_of_simpleitk_off_the_border(rng):
    vectors = 0.3 * rng.normal(size=(*SHAPE, 3))  # axes of ITK's world, L P S
    image = sitk.GetImageFromArray(vectors.transpose(2, 1, 0, 3), isVector=True)
    image.SetSpacing((0.5, 2.0, 3.0))
    expected = sitk.GetArrayFromImage(sitk.DisplacementFieldJacobianDeterminant(image))
    found = metric.jacobian_determinant_world(vectors, np.diag([0.5, 2.0, 3.0, 1.0]))
    inside = (slice(1, -1),) * 3
    np.testing.assert_allclose(found[inside], expected.transpose(2, 1, 0)[inside])


def test_fields_and_affines_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"ddf \(f1, f2, f3, 3\), got \(5, 6, 2\)"):
        metric.jacobian_determinant(np.zeros((5, 6, 2)))
    with pytest.raises(ValueError, match=r"affine \(4, 4\), got \(3, 3\)"):
        metric.jacobian_determinant_world(np.zeros((5, 6, 7, 3)), np.eye(3))
