"""Laws, hand-derived values and errors of deepreg_meta.evaluate.metric."""

import math
import os

import numpy as np
import pytest

from deepreg_meta.evaluate import metric

IDENTITY, ZERO = np.eye(3), np.zeros(3)
SHAPE = (5, 6, 7)


def grid(shape=SHAPE):
    """Voxel coordinates, shape (*shape, 3)."""
    return np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1).astype(
        float
    )


def blob(centre, shape=SHAPE):
    """A 3 x 3 x 3 cube around a voxel."""
    return (np.abs(grid(shape) - centre).max(axis=-1) <= 1).astype(np.float32)


def errors_of(fixed, moving, **given):
    settings = {
        "ddf": None,
        "A": IDENTITY,
        "t": ZERO,
        "moving_spacing_mm": (1, 1, 1),
        "fixed_spacing_mm": (1, 1, 1),
    }
    return metric.landmark_errors(fixed, moving, **{**settings, **given})


def test_dice_of_two_boxes_that_share_one_of_their_two_slabs_is_a_half():
    a, b = np.zeros(SHAPE), np.zeros(SHAPE)
    a[0:2] = 1  # slabs 0, 1
    b[1:3] = 1  # slabs 1, 2: 2 * 1 / (2 + 2)
    assert metric.dsc(a, b) == 0.5


def test_dice_of_boxes_of_unequal_size_weighs_both_sizes():
    a, b = np.zeros(SHAPE), np.zeros(SHAPE)
    a[0:1], b[0:3] = 1, 1  # 2 * 1 / (1 + 3)
    assert metric.dsc(a, b) == metric.dsc(b, a) == 0.5
    b[0:4] = 1  # 2 * 1 / (1 + 4)
    assert metric.dsc(a, b) == metric.dsc(b, a) == 0.4


def test_dice_counts_a_soft_voxel_from_one_half_on():
    assert metric.dsc([0.5, 0.49], [1.0, 1.0]) == pytest.approx(2 / 3)
    assert metric.dsc([0.5, 0.49], [1.0, 1.0], threshold=0.4) == 1.0


def test_dice_of_two_empty_labels_is_nan_and_of_one_empty_label_zero():
    empty, full = np.zeros(SHAPE), np.ones(SHAPE)
    assert math.isnan(metric.dsc(empty, empty))
    assert metric.dsc(empty, full) == 0.0


def test_dice_refuses_two_shapes():
    with pytest.raises(ValueError, match=r"dsc: .*\(5, 6, 7\) and \(5, 7, 6\)"):
        metric.dsc(np.zeros((5, 6, 7)), np.zeros((5, 7, 6)))


def test_masked_dice_ignores_everything_off_the_mask():
    a, b = np.zeros(SHAPE), np.zeros(SHAPE)
    a[:, 0:2], b[:, 1:3] = 1, 1
    off_frames = np.array([0, 1, 1, 1, 1, 1]).reshape(1, 6, 1)
    # without frame 0: |a| = 1, |b| = 2, common 1 frame
    assert metric.dsc_masked(a, b, off_frames) == pytest.approx(2 / 3)
    assert metric.dsc_masked(a, b, np.ones(SHAPE, bool)) == metric.dsc(a, b)
    assert math.isnan(metric.dsc_masked(a, b, np.zeros(SHAPE, bool)))


def test_masked_dice_refuses_a_mask_of_another_grid():
    with pytest.raises(ValueError, match="broadcast"):
        metric.dsc_masked(np.ones(SHAPE), np.ones(SHAPE), np.ones((7, 6, 5)))
    with pytest.raises(ValueError, match="dsc: expected two labels"):
        metric.dsc_masked(np.ones(SHAPE), np.ones((5, 6, 1)), np.ones(SHAPE))


def test_centroid_of_a_soft_label_is_that_of_its_voxels_from_one_half_on():
    label = np.zeros(SHAPE)
    label[1, 2, 3], label[3, 4, 3], label[0, 0, 0] = 0.5, 1.0, 0.49
    np.testing.assert_array_equal(metric.centroid(label), [2, 3, 3])


def test_an_empty_label_has_no_centroid():
    assert metric.centroid(np.zeros(SHAPE)) is None


def test_points_follow_a_linear_field_exactly_between_the_voxels():
    ddf = grid() * [0.1, 0.2, 0.3]
    A, t = np.array([[0, 2, 0], [1, 0, 0], [0, 0, 3]]), [1, 2, 3]
    # x + u = (1.1, 3.0, 4.55); A swaps the first two axes
    mapped = metric.map_points([[1.0, 2.5, 3.5]], ddf, A, t)
    np.testing.assert_allclose(mapped, [[2 * 3.0 + 1, 1.1 + 2, 3 * 4.55 + 3]])


def test_points_outside_the_grid_take_the_displacement_of_the_border():
    mapped = metric.map_points([[9.0, 0, 0]], grid(), IDENTITY, ZERO)
    np.testing.assert_allclose(mapped, [[9.0 + 4.0, 0, 0]])  # u = x ends at 4


def test_points_of_a_flat_image_move_in_its_plane():
    ddf = grid((5, 6, 1)) * [1, 0.5, 0]
    mapped = metric.map_points([[1.5, 2, 0]], ddf, IDENTITY, ZERO)
    np.testing.assert_allclose(mapped, [[3, 3, 0]])


def test_points_of_another_shape_are_refused():
    with pytest.raises(ValueError, match=r"points \(N, 3\), got \(3,\)"):
        metric.map_points([1, 2, 3], None, IDENTITY, ZERO)
    with pytest.raises(ValueError, match=r"ddf \(f1, f2, f3, 3\), got \(5, 6, 2\)"):
        metric.map_points([[1, 2, 3]], np.zeros((5, 6, 2)), IDENTITY, ZERO)


@pytest.mark.parametrize("spacing", [(1, 1, 1), (0.5, 1, 2), (0.25, 0.5, 0.4)])
def test_a_translation_by_1_2_2_mm_has_an_error_of_3_mm_under_any_spacing(spacing):
    shape = (9, 11, 13)
    landmark = blob((4, 5, 6), shape)[None]
    ddf = np.broadcast_to(np.array([1, 2, 2]) / spacing, (*shape, 3))
    found = errors_of(landmark, landmark, ddf=ddf, moving_spacing_mm=spacing)
    assert found["1"]["tre_mm"] == pytest.approx(3.0)


def test_the_error_is_measured_with_the_moving_spacing_and_the_blobs_with_the_fixed():
    fixed, moving = blob((2, 2, 2)), blob((2, 3, 4))  # off by (0, 1, 2) voxels
    found = errors_of(
        fixed[None],
        moving[None],
        warped_landmarks=moving[None],
        moving_spacing_mm=(1, 3, 2),
        fixed_spacing_mm=(1, 12, 2.5),
    )
    assert found["1"]["tre_mm"] == pytest.approx(5.0)  # (0, 3, 4) mm
    assert found["1"]["tre_blob_mm"] == pytest.approx(13.0)  # (0, 12, 5) mm


def test_the_alignment_takes_part_in_the_error_of_landmarks():
    fixed, moving = blob((2, 2, 2)), blob((4, 5, 6), (9, 11, 13))
    found = errors_of(fixed[None], moving[None], A=2 * IDENTITY, t=(0, 1, 2))
    assert found["1"]["tre_mm"] == pytest.approx(0.0)
    found = errors_of(fixed[None], moving[None], A=2 * IDENTITY, t=(0, 1, 0))
    assert found["1"]["tre_mm"] == pytest.approx(2.0)


def test_a_lost_blob_has_no_error_of_its_own_and_is_counted():
    labels = np.stack([blob((2, 2, 2)), blob((2, 3, 4))])
    warped = np.stack([labels[0], np.full(SHAPE, 0.4)])
    found = errors_of(labels, labels, warped_landmarks=warped, names=["apex", "cyst"])
    assert found["apex"] == {"tre_mm": 0.0, "tre_blob_mm": 0.0, "lost": False}
    assert found["cyst"] == {"tre_mm": 0.0, "tre_blob_mm": None, "lost": True}
    assert metric.count_lost(found) == 1


def test_a_landmark_that_one_image_does_not_show_has_no_error_and_is_not_lost():
    empty, there = np.zeros((1, *SHAPE)), blob((2, 2, 2))[None]
    for fixed, moving in ((empty, there), (there, empty)):
        found = errors_of(fixed, moving, warped_landmarks=moving)
        assert found["1"] == {"tre_mm": None, "tre_blob_mm": None, "lost": False}


def test_landmarks_in_unequal_number_and_wrong_spacings_are_refused():
    two, one = np.ones((2, *SHAPE)), np.ones((1, *SHAPE))
    with pytest.raises(ValueError, match="fixed landmarks, 2; got 1, 2 and 2"):
        errors_of(two, one)
    with pytest.raises(ValueError, match=r"moving_spacing_mm: .*got \(1, 0, 1\)"):
        errors_of(one, one, moving_spacing_mm=(1, 0, 1))


def test_blob_errors_equal_those_of_deepreg():
    pytest.importorskip("tf_keras")
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    label = pytest.importorskip("deepreg.loss.label")
    fixed, warped = blob((2, 2, 3)), 0.7 * blob((3, 4, 4))
    expected = label.compute_centroid_distance(
        fixed[None], warped[None].astype(np.float32), grid().astype(np.float32)
    )
    found = errors_of(fixed[None], fixed[None], warped_landmarks=warped[None])
    assert found["1"]["tre_blob_mm"] == pytest.approx(float(expected[0]), rel=1e-5)


def test_the_root_mean_square_leaves_out_landmarks_without_error():
    assert metric.tre_rms([3.0, None, 4.0]) == pytest.approx(math.sqrt(12.5))
    assert math.isnan(metric.tre_rms([None]))


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


def test_mse_of_a_constant_offset_is_its_square():
    image = np.arange(5 * 6 * 7).reshape(5, 6, 7)
    assert metric.mse(image, image + 3) == pytest.approx(9.0)


def test_ncc_ignores_gain_and_offset_and_shows_the_sign():
    image = np.random.default_rng(0).random((5, 6, 7))
    assert metric.ncc(image, 2 * image + 1) == pytest.approx(1.0)
    assert metric.ncc(image, -image) == pytest.approx(-1.0)
    # (0, 1, 2) and (0, 0, 1): covariance 1, variances 2 and 2/3
    assert metric.ncc([0, 1, 2], [0, 0, 1]) == pytest.approx(np.sqrt(3) / 2)
    assert np.isnan(metric.ncc(image, np.ones_like(image)))
