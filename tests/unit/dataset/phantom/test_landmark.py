"""Tests of the phantom's landmarks and labels."""

import numpy as np
import pytest
from scipy import ndimage

from deepreg_meta.dataset.phantom.anatomy import draw_anatomy
from deepreg_meta.dataset.phantom.grid import voxel_grid
from deepreg_meta.dataset.phantom.landmark import (
    Landmark,
    draw_landmarks,
    label_channels,
)
from deepreg_meta.dataset.phantom.view import View

FIXED = (20, 24, 18)


def test_signed_distance_is_negative_inside():
    mark = Landmark("cyst", np.array([1.0, 2.0, 3.0]), np.zeros(3), 2.0)
    # (2, 3, 6) has length 7
    np.testing.assert_allclose(mark.signed(np.array([[1, 2, 3], [3, 5, 9]])), [-2, 5])


def test_label_channels_are_the_gland_and_then_each_ball(plain):
    x = voxel_grid((11, 15, 13))
    view = View(plain, x - [5, 7, 6])
    centre = np.array([-1.0, 2.0, 1.0])
    mark = Landmark("lesion", centre, centre + [5, 7, 6], 1.1)
    labels = label_channels(view, [mark])
    assert labels.shape == (2, 11, 15, 13) and labels.dtype == np.uint8
    assert labels[0, 5, 7, 6] == 1 and labels[0, 0, 0, 0] == 0
    # the centre and its six neighbours: diagonal ones are sqrt(2) > 1.1 away
    assert labels[1].sum() == 7 and labels[1, 4, 9, 7] == 1


@pytest.mark.parametrize("seed", range(16))
def test_landmarks_keep_to_their_depth_and_apart(seed):
    rng = np.random.default_rng(seed)
    anatomy = draw_anatomy(rng, FIXED)
    fixed = View(anatomy, voxel_grid(FIXED) - (np.array(FIXED) - 1) / 2)
    landmarks = draw_landmarks(rng, fixed)
    kinds = [mark.kind for mark in landmarks]
    assert kinds[0] == "calcification" and 2 <= len(set(kinds)) == len(kinds) <= 4
    for i, mark in enumerate(landmarks):
        at = tuple(mark.fixed_centre.astype(int))
        np.testing.assert_array_equal(fixed.q[at], mark.centre)
        assert 0.15 < fixed.gland[at] < 1.02
        for other in landmarks[:i]:
            gap = np.linalg.norm(mark.centre - other.centre) - mark.radius
            assert gap - other.radius > 2 * anatomy.scale


def test_labels_are_not_empty_and_lie_inside_both_grids(cases):
    for case in cases:
        for labels in (case.moving_labels, case.fixed_labels):
            assert (labels.reshape(len(labels), -1).sum(axis=1) >= 2).all()
            inner = labels[:, 1:-1, 1:-1, 1:-1]
            assert inner.sum() == labels.sum()


def test_landmarks_are_inside_the_gland_or_on_its_boundary(cases):
    for case in cases:
        near = ndimage.binary_dilation(case.fixed_labels[0], iterations=2)
        for mark in case.fixed_labels[1:]:
            assert near[tuple(np.round(ndimage.center_of_mass(mark)).astype(int))]
