"""Laws, hand-derived values and errors of deepreg_meta.evaluate.metric.overlap."""

import math

import numpy as np
import pytest
import SimpleITK as sitk

from deepreg_meta.evaluate import metric

SHAPE = (5, 6, 7)


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
    with pytest.raises(ValueError, match=r"dsc_masked: expected two vol.*\(5, 6, 1\)"):
        metric.dsc_masked(np.ones(SHAPE), np.ones((5, 6, 1)), np.ones(SHAPE))


def test_dice_equals_that_of_simpleitk(rng):
    a, b = rng.random((2, *SHAPE)) > 0.4
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*(sitk.GetImageFromArray(x.astype(np.uint8)) for x in (a, b)))
    assert metric.dsc(a, b) == pytest.approx(overlap.GetDiceCoefficient())
