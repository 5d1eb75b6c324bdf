"""Laws, hand-derived values and errors of deepreg_meta.evaluate.metric.landmark."""

import math

import numpy as np
import pytest

from deepreg_meta.evaluate import metric

SHAPE = (5, 6, 7)


def test_centroid_of_a_soft_label_is_that_of_its_voxels_from_one_half_on():
    label = np.zeros(SHAPE)
    label[1, 2, 3], label[3, 4, 3], label[0, 0, 0] = 0.5, 1.0, 0.49
    np.testing.assert_array_equal(metric.centroid(label), [2, 3, 3])


def test_an_empty_label_has_no_centroid():
    assert metric.centroid(np.zeros(SHAPE)) is None


def test_the_root_mean_square_leaves_out_landmarks_without_error():
    assert metric.tre_rms([3.0, None, 4.0]) == pytest.approx(math.sqrt(12.5))
    assert math.isnan(metric.tre_rms([None]))


def test_points_in_space_are_mapped_and_then_compared_in_mm():
    fixed = [[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]]
    moving = [[2.0, 4.0, 6.0], [1.0, 2.0, 2.0]]
    np.testing.assert_allclose(
        metric.point_errors(fixed, moving, lambda points: 2 * points), [0.0, 3.0]
    )


def test_points_without_partners_are_refused():
    with pytest.raises(ValueError, match=r"got \(2, 3\) and \(1, 3\)"):
        metric.point_errors(np.zeros((2, 3)), np.zeros((1, 3)), np.asarray)
    with pytest.raises(ValueError, match=r"\(N, 3\), got \(3,\) and \(3,\)"):
        metric.point_errors(np.zeros(3), np.zeros(3), np.asarray)
