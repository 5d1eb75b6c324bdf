"""Tests of deepreg_meta/geometry/affine.py."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from deepreg_meta.geometry.affine import (
    GeometryError,
    apply,
    check_affine,
    from_parts,
    spacing_of,
    swap_ras_lps,
)


def test_spacing_is_the_length_of_the_columns():
    """A turn and a flip change nothing of it, the origin neither."""
    turn = Rotation.from_euler("xyz", (20, -35, 50), degrees=True).as_matrix()
    affine = from_parts(turn @ np.diag([-0.8, 1.3, 2.5]), (-12, 30, 7))
    np.testing.assert_allclose(spacing_of(affine), [0.8, 1.3, 2.5])


def test_points_are_mapped_by_the_matrix_and_the_offset():
    """(2 * 2 + 1, 3 * 1 + 2, 4 * 3 + 3); any leading shape."""
    affine = np.array([[0, 2.0, 0, 1], [3.0, 0, 0, 2], [0, 0, 4.0, 3], [0, 0, 0, 1]])
    np.testing.assert_array_equal(apply(affine, [1, 2, 3]), [5, 5, 15])
    points = np.arange(24.0).reshape(2, 4, 3)
    mapped = apply(affine, points)
    assert mapped.shape == (2, 4, 3)
    np.testing.assert_array_equal(mapped[1, 2], apply(affine, points[1, 2]))


def test_a_map_is_put_together_of_its_parts():
    """The offset is the last column, the last row is that of an affine map."""
    affine = from_parts([[1, 2, 3], [4, 5, 6], [7, 8, 10]], [11, 12, 13])
    expected = [[1, 2, 3, 11], [4, 5, 6, 12], [7, 8, 10, 13], [0, 0, 0, 1]]
    np.testing.assert_array_equal(affine, expected)


def test_a_turn_about_z_is_the_same_in_lps_and_its_shift_changes_sign(rng):
    """x and y turn together; 5 mm to the right are -5 mm to the left."""
    turn = Rotation.from_euler("z", 30, degrees=True).as_matrix()
    swapped = swap_ras_lps(from_parts(turn, (5, -6, 7)))
    np.testing.assert_allclose(swapped, from_parts(turn, (-5, 6, 7)), atol=1e-15)
    affine = from_parts(rng.normal(size=(3, 3)), rng.normal(size=3))
    np.testing.assert_array_equal(swap_ras_lps(swap_ras_lps(affine)), affine)
    # the same points, written in the other system, meet the same map
    point = rng.normal(size=3)
    flip = np.array([-1, -1, 1])
    expected = apply(affine, point) * flip
    np.testing.assert_allclose(apply(swap_ras_lps(affine), point * flip), expected)


def test_a_good_affine_passes_as_float64():
    """Left-handed, oblique and sheared ones are good too."""
    sheared = from_parts([[-1, 0.9, 0], [0, 2, 0.3], [0, 0, 0.01]], (1, 2, 3))
    checked = check_affine(sheared.astype(np.float32).tolist(), "mri.nii")
    assert checked.dtype == np.float64
    np.testing.assert_allclose(checked, sheared, rtol=1e-6)


FLAT = from_parts([[1, 2, 0], [1, 2, 0], [0, 0, 1]], (0, 0, 0))


@pytest.mark.parametrize(
    ("affine", "message"),
    [
        (np.eye(3), r"mri.nii: expected a finite affine of shape \(4, 4\)"),
        (np.diag([1, np.nan, 1, 1]), "expected a finite affine"),
        (np.diag([1, np.inf, 1, 1]), "expected a finite affine"),
        (np.diag([1, 0.0, 2, 1]), r"voxel sides > 0, got a spacing of \[1.0, 0.0, 2.0"),
        (FLAT, "expected an invertible affine, got a singular one"),
    ],
)
def test_an_affine_that_cannot_be_is_refused(affine, message):
    """The name of the file, the rule and the value."""
    with pytest.raises(GeometryError, match=message) as caught:
        check_affine(affine, "mri.nii")
    assert str(caught.value).startswith("mri.nii: ")


def test_small_voxels_are_not_singular():
    """The rule looks at angles: micrometres in mm have a determinant of 1e-9."""
    check_affine(np.diag([1e-3, 1e-3, 1e-3, 1]), "histology")
    with pytest.raises(GeometryError, match="singular"):
        check_affine(from_parts(1e3 * FLAT[:3, :3], np.zeros(3)), "large and flat")
