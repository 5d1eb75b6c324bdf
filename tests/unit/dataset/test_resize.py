"""Tests of resizing, DeepReg as reference, and of voxels of another size."""

import numpy as np
import pytest

from deepreg_meta.dataset.resize import resample_linear, resize_linear, smooth
from deepreg_meta.stack import require_stack

SHAPES = [(5, 6, 7), (10, 3, 7), (4, 13, 1), (2, 2, 20), (1, 6, 7)]


@pytest.mark.parametrize("shape", SHAPES)
def test_resizing_equals_deepregs(shape):
    require_stack()
    import tensorflow as tf
    from deepreg.model.layer_util import resize3d

    volume = np.random.default_rng(0).normal(size=(5, 6, 7)).astype(np.float32)
    expected = resize3d(tf.constant(volume), shape).numpy()
    ours = resize_linear(volume, shape)
    assert ours.shape == shape and ours.dtype == np.float32
    np.testing.assert_allclose(ours, expected, atol=1e-5)


def test_doubling_a_line_gives_the_values_worked_out_by_hand():
    # new centres lie at old positions -0.25, 0.25, 0.75, 1.25; the ends are constant
    line = np.array([0.0, 4.0]).reshape(1, 1, 2)
    np.testing.assert_allclose(resize_linear(line, (1, 1, 4)).ravel(), [0, 1, 3, 4])


def test_leading_axes_are_resized_one_by_one():
    volumes = np.random.default_rng(0).normal(size=(3, 5, 6, 7))
    together = resize_linear(volumes, (4, 8, 9))
    for one, all_of_it in zip(volumes, together, strict=True):
        np.testing.assert_array_equal(resize_linear(one, (4, 8, 9)), all_of_it)


def test_voxels_twice_as_large_lie_around_the_same_centre():
    # 5 voxels at 0..4, centre 2; 3 voxels of side 2 at 0, 2, 4; of side 1.5 at 0.5, 2,
    # 3.5, where the line has 5, 20, 35
    line = 10 * np.arange(5.0).reshape(1, 1, 5)
    double = resample_linear(line, (1, 1, 2), (1, 1, 3))
    np.testing.assert_allclose(double.ravel(), [0, 20, 40])
    wider = resample_linear(line, (1, 1, 1.5), (1, 1, 3))
    np.testing.assert_allclose(wider.ravel(), [5, 20, 35])
    # 4 voxels of side 1.5 would begin at -0.25, where the line is constant
    beyond = resample_linear(line, (1, 1, 1.5), (1, 1, 4))
    np.testing.assert_allclose(beyond.ravel(), [0, 12.5, 27.5, 40])


def test_resampling_keeps_the_type_and_leaves_a_volume_that_needs_none(rng):
    volume = rng.normal(size=(2, 5, 6, 7)).astype(np.float32)
    assert resample_linear(volume, (1, 1, 1), (5, 6, 7)) is volume
    smaller = resample_linear(volume, (2, 1, 0.5), (2, 6, 14))
    assert smaller.shape == (2, 2, 6, 14) and smaller.dtype == np.float32


def test_smoothing_goes_along_growing_axes_with_half_the_growth(rng):
    # a step of height 1: a Gaussian of standard deviation (3 - 1) / 2 = 1 voxel leaves
    # the weights of an impulse, exp(-x^2 / 2) normalised
    impulse = np.zeros((1, 1, 21))
    impulse[0, 0, 10] = 1
    smoothed = smooth(impulse, (1, 0.5, 3)).ravel()
    weights = np.exp(-((np.arange(21) - 10.0) ** 2) / 2)
    np.testing.assert_allclose(smoothed, weights / weights.sum(), atol=1e-4)
    volume = rng.normal(size=(5, 6, 7)).astype(np.float32)
    assert smooth(volume, (1, 0.5, 1)) is volume
    grown = smooth(volume, (2, 1, 1))
    assert grown.dtype == np.float32
    assert grown.std(axis=0).mean() < 0.8 * volume.std(axis=0).mean()
    # along the other axes nothing is mixed
    line = smooth(volume[:, 2:3, 3:4], (2, 1, 1))
    np.testing.assert_allclose(grown[:, 2:3, 3:4], line)


def test_smoothing_leaves_what_is_constant_up_to_the_border():
    volume = np.full((4, 5, 1), 3.0)
    np.testing.assert_allclose(smooth(volume, (3, 2, 1)), volume)


def test_smoothing_before_larger_voxels_weakens_aliases():
    # a wave of 2.5 voxels shows as a slow one on every second voxel. The filter of
    # standard deviation 0.5 has the weights 1 and exp(-2) beside it, over their sum
    # 1.271: 0.787 and 0.106, so it leaves 0.787 + 2 * 0.106 * cos(2 pi / 2.5) = 0.615
    wave = np.cos(2 * np.pi * np.arange(60) / 2.5).reshape(60, 1, 1)
    ratio, shape = (2, 1, 1), (30, 1, 1)
    alias = resample_linear(wave, ratio, shape)
    clean = resample_linear(smooth(wave, ratio), ratio, shape)
    np.testing.assert_allclose(clean[3:-3], 0.615 * alias[3:-3], atol=1e-3)
