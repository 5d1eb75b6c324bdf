"""Tests of the initial alignment: by the grids, by points, by cross-sections."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from deepreg_meta.dataset import frame_mask
from deepreg_meta.model import alignment

FIXED, MOVING = (12, 13, 14), (14, 16, 13)
SPACING = {"fixed": (1.0, 1.0, 1.2), "moving": (0.9, 0.8, 1.2)}


def make_grids(fixed_affine=None, moving_affine=None):
    identity = np.eye(4)
    return alignment.Grids(
        MOVING,
        FIXED,
        tf.constant(identity if moving_affine is None else moving_affine, tf.float32),
        tf.constant(identity if fixed_affine is None else fixed_affine, tf.float32),
        tf.constant(SPACING["moving"]),
        tf.constant(SPACING["fixed"]),
    )


def apply(matrix, offset, point):
    return np.asarray(matrix) @ np.asarray(point) + np.asarray(offset)


def ellipsoid(points, centre, radii=(3.6, 3.1, 4.2)):
    """Return a soft ellipsoid at points (..., 3), a voxel wide at its border."""
    radius = np.linalg.norm((points - np.asarray(centre)) / np.array(radii), axis=-1)
    return np.clip(0.5 + (1.0 - radius) * min(radii), 0.0, 1.0).astype(np.float32)


def voxels(shape):
    grid = np.meshgrid(*map(np.arange, shape), indexing="ij")
    return np.stack(grid, axis=-1).astype(np.float64)


def test_the_centre_of_a_grid_is_half_way_between_its_outer_voxels():
    np.testing.assert_array_equal(alignment.grid_centre((5, 6, 1)), [2.0, 2.5, 0.0])


def test_corner_is_the_identity():
    matrix, offset = alignment.align_grids("corner", make_grids())
    np.testing.assert_array_equal(matrix, np.eye(3))
    np.testing.assert_array_equal(offset, np.zeros(3))


@pytest.mark.parametrize("mode_name", ["center", "centroid", "sections"])
def test_center_takes_centre_to_centre_and_keeps_the_millimetre(mode_name):
    matrix, offset = alignment.align_grids(mode_name, make_grids())
    centre = (np.array(FIXED) - 1) / 2
    np.testing.assert_allclose(
        apply(matrix, offset, centre), (np.array(MOVING) - 1) / 2, atol=1e-5
    )
    for axis in range(3):
        step = np.eye(3)[axis]  # one fixed voxel further
        moved = apply(matrix, offset, centre + step) - apply(matrix, offset, centre)
        moved_mm = moved * SPACING["moving"]
        np.testing.assert_allclose(moved_mm, step * SPACING["fixed"], atol=1e-5)


def test_affine_takes_each_voxel_to_its_place_in_the_other_file(rng):
    fixed, moving = np.eye(4), np.eye(4)
    fixed[:3, :3] = [[0, -1.5, 0], [2.0, 0, 0], [0.1, 0, 1.0]]
    moving[:3, :3] = [[1.1, 0.2, 0], [0, 0.9, -0.3], [0, 0.4, -1.2]]
    fixed[:3, 3], moving[:3, 3] = [5, 6, 7], [-8, 2, 1]
    matrix, offset = alignment.align_grids("affine", make_grids(fixed, moving))
    expected = np.linalg.inv(moving) @ fixed
    np.testing.assert_allclose(matrix, expected[:3, :3], atol=1e-5)
    np.testing.assert_allclose(offset, expected[:3, 3], atol=1e-4)


def test_soft_centroids_equal_scipys(mode, rng):
    label = rng.uniform(0, 1, (3, 5, 6, 7)).astype(np.float32) ** 4
    centres = mode(alignment.soft_centroid)(tf.constant(label), tf.zeros([3]))
    expected = [ndimage.center_of_mass(one) for one in label]
    np.testing.assert_allclose(centres, expected, atol=1e-5)


def test_an_empty_label_has_the_fallback_for_centroid():
    label = np.zeros((2, 5, 6, 7), np.float32)
    label[1, 2, 4, 6] = 0.3
    for fallback in (
        tf.constant([7.0, 8.0, 9.0]),
        tf.constant([[7.0, 8, 9], [0, 0, 0]]),
    ):
        centres = alignment.soft_centroid(tf.constant(label), fallback)
        np.testing.assert_allclose(centres, [[7, 8, 9], [2, 4, 6]], atol=1e-5)


def test_aligned_points_meet_exactly(rng):
    matrix = rng.normal(size=(4, 3, 3)).astype(np.float32)
    fixed, moving = rng.uniform(0, 9, (2, 4, 3)).astype(np.float32)
    offset = alignment.align_points(*map(tf.constant, (matrix, fixed, moving)))
    for i in range(4):
        np.testing.assert_allclose(
            apply(matrix[i], offset[i], fixed[i]), moving[i], atol=1e-4
        )


def align_by_sections(shift, axis, slices):
    """
    Align a moving label that is the fixed ellipsoid, moved by `shift` fixed voxels.

    :return: the shift that was found, (batch, 3).
    """
    matrix, offset = alignment.align_grids("center", make_grids())
    centre = np.array([5.4, 6.2, 6.7])
    batch = len(slices)
    base = matrix[None], offset[None]
    # m(A x + t - A shift) = f(x): the moving voxel y shows f at A^-1 (y - t) + shift
    inverse = np.linalg.inv(matrix.numpy())
    points = (voxels(MOVING) - offset.numpy()) @ inverse.T + shift
    moving = tf.constant(ellipsoid(points, centre)[None])
    profile = alignment.section_profile(moving, *base, FIXED, axis)
    profile = alignment.SectionProfile(*(tf.repeat(x, batch, axis=0) for x in profile))
    base = tuple(tf.repeat(x, batch, axis=0) for x in base)
    fixed_label = ellipsoid(voxels(FIXED), centre)
    mask = frame_mask.expand_frame_mask(slices, FIXED, axis)
    found = alignment.align_sections(base, profile, fixed_label * mask, slices, axis)
    np.testing.assert_array_equal(found[0], base[0])
    return (offset.numpy() - found[1].numpy()) @ inverse.T


def sweep_slices(axis, num_seen, num_frames=6):
    label = tf.constant(ellipsoid(voxels(FIXED), (5.4, 6.2, 6.7))[None])
    extent = frame_mask.label_extent(label, axis)
    return frame_mask.sweep_frame_mask(num_seen, num_frames, extent, FIXED[axis])


SHIFTS = [(0.0, 0.0, 0.0), (1.25, -0.75, 0.5), (-2.0, 1.5, -1.75), (0.5, 2.25, 2.0)]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shift", SHIFTS)
def test_sections_recover_a_translation_from_all_slices(axis, shift):
    found = align_by_sections(shift, axis, tf.ones([1, FIXED[axis]]))
    np.testing.assert_allclose(found[0], shift, atol=0.25)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("shift", SHIFTS)
def test_sections_recover_a_translation_from_three_frames_of_a_sweep(axis, shift):
    found = align_by_sections(shift, axis, sweep_slices(axis, 3))
    np.testing.assert_allclose(found[0], shift, atol=0.25)


def test_centroids_of_three_frames_would_mislead():
    # what `sections` is there for: the same frames, by centroids, miss by far more
    label = ellipsoid(voxels(FIXED), (5.4, 6.2, 6.7))[None]
    mask = frame_mask.expand_frame_mask(sweep_slices(0, 3), FIXED, 0)
    seen = alignment.soft_centroid(tf.constant(label) * mask, tf.zeros([3]))
    assert abs(seen[0, 0].numpy() - 5.4) > 1.0


def test_of_sections_that_fit_anywhere_the_nearest_ones_are_taken():
    """A beam has the same section in every plane: it stays where it is across them."""
    label = np.zeros((1, *FIXED), np.float32)
    label[:, 4:8, 5:8, 6:9] = 1  # what four frames show of it; centre (6, 7)
    slices = np.zeros((1, FIXED[0]), np.float32)
    slices[:, 4:8] = 1
    area = tf.fill([1, 2 * FIXED[0]], 9.0)
    profile = alignment.SectionProfile(area, area[..., None] * [6.0, 7.0])
    base = tf.eye(3)[None], tf.zeros([1, 3])
    found = alignment.align_sections(base, profile, tf.constant(label), slices, 0)
    np.testing.assert_allclose(found[1], [[0, 0, 0]], atol=1e-5)


def test_frames_that_miss_the_gland_fall_back_on_the_base():
    slices = np.zeros((2, FIXED[0]), np.float32)
    slices[0, 0] = 1.0  # before the gland
    slices[1, 4:8] = 1.0
    found = align_by_sections((1.25, -0.75, 0.5), 0, tf.constant(slices))
    np.testing.assert_array_equal(found[0], np.zeros(3))
    np.testing.assert_allclose(found[1], (1.25, -0.75, 0.5), atol=0.25)


def test_each_batch_element_is_aligned_by_its_own_frames(mode):
    slices = tf.concat([sweep_slices(1, 3), sweep_slices(1, 6)], axis=0)
    together = mode(lambda: align_by_sections_tensor(slices))()
    for i in range(2):
        alone = align_by_sections_tensor(slices[i : i + 1])
        np.testing.assert_allclose(together[i], alone[0], atol=1e-4)


def align_by_sections_tensor(slices):
    """Return the offsets for an ellipsoid in two places of one grid."""
    matrix, offset = tf.eye(3)[None], tf.zeros([1, 3])
    labels = [
        tf.constant(ellipsoid(voxels(FIXED), c)[None])
        for c in [(5.4, 6.2, 6.7), (6.4, 6.7, 5.9)]
    ]
    profile = alignment.section_profile(labels[1], matrix, offset, FIXED, 1)
    batch = slices.shape[0]
    profile = alignment.SectionProfile(*(tf.repeat(x, batch, axis=0) for x in profile))
    base = tf.repeat(matrix, batch, axis=0), tf.repeat(offset, batch, axis=0)
    seen = labels[0] * frame_mask.expand_frame_mask(slices, FIXED, 1)
    return alignment.align_sections(base, profile, seen, slices, 1)[1]


def test_the_profile_holds_area_and_moment_of_a_block_in_fixed_voxels():
    # a block of 4 x 6 x 8 voxels, sliced along axis 1; the soft edges of the linear
    # interpolation lie on whole voxels, so that the sum over every second is exact
    label = np.zeros((1, *FIXED), np.float32)
    label[0, 4:8, 3:9, 2:10] = 1.0
    profile = alignment.section_profile(
        tf.constant(label), tf.eye(3)[None], tf.zeros([1, 3]), FIXED, axis=1
    )
    margin = FIXED[1] // 2
    assert profile.area.shape == (1, FIXED[1] + 2 * margin)
    area = np.zeros(FIXED[1])
    area[3:9] = 4 * 8
    np.testing.assert_allclose(profile.area[0, margin:-margin], area, atol=1e-4)
    centre = (profile.moment / profile.area[..., None])[0, margin + 5].numpy()
    # of every second voxel from -6: 4 and 6 along axis 0; from -7: 3, 5, 7, 9 along 2
    np.testing.assert_allclose(centre, [5.0, 6.0], atol=1e-4)


def test_sections_of_a_single_slice_run():
    size = (6, 7, 1)
    label = tf.constant(ellipsoid(voxels(size), (2.5, 3.0, 0.0))[None])
    base = tf.eye(3)[None], tf.zeros([1, 3])
    profile = alignment.section_profile(label, *base, size, axis=2)
    found = alignment.align_sections(base, profile, label, tf.ones([1, 1]), axis=2)
    # an ellipse a few voxels wide, cut at every second voxel
    np.testing.assert_allclose(found[1], np.zeros((1, 3)), atol=0.5)
