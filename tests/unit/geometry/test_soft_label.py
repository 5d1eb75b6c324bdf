"""Tests of labels with smooth borders."""

import numpy as np
import pytest

from deepreg_meta.geometry.affine import from_parts
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.geometry.resample import resample
from deepreg_meta.geometry.soft_label import resample_soft
from deepreg_meta.geometry.transform import Affine, Transform
from tests.unit.geometry.places import PAIRS, alignment

LINE = Grid((8, 1, 1), np.eye(4))


def shifted(x):
    return Transform((Affine(from_parts(np.eye(3), (x, 0, 0))),))


def warped(values, x, outside=0.0):
    volume = np.array(values)[:, None, None]
    return resample_soft(volume, LINE, LINE, shifted(x), outside)[:, 0, 0]


def test_the_largest_share_wins_and_is_no_mixture():
    """A quarter beyond a voxel its own value has 0.75; between 1 and 5 lies no 3."""
    values = [0, 1, 1, 5, 5, 2, 0, 0]
    np.testing.assert_array_equal(warped(values, 0.25), values)
    np.testing.assert_array_equal(warped(values, 0.75), [1, 1, 5, 5, 2, 0, 0, 0])


def test_of_two_equal_shares_the_background_or_the_lower_value_wins():
    values = [0, 4, 4, 3, 3, 0, 0, 7]
    np.testing.assert_array_equal(warped(values, 0.5)[:-1], [0, 4, 3, 3, 0, 0, 0])


def test_outside_the_image_is_the_value_wanted():
    values = np.uint8([1, 1, 1, 1, 1, 1, 1, 1])
    result = warped(values, 3, outside=9)
    np.testing.assert_array_equal(result, [1, 1, 1, 1, 1, 9, 9, 9])
    assert result.dtype == np.uint8


@pytest.mark.parametrize("name", list(PAIRS))
def test_it_is_the_argmax_over_one_hot_channels(name, rng):
    fixed, moving = PAIRS[name]
    transform = Transform((alignment(fixed, moving, rng),))
    label = rng.integers(0, 4, moving.shape).astype(np.int16)
    ours = resample_soft(label, moving, fixed, transform)
    one_hot = np.stack([label == value for value in range(4)]).astype(np.float32)
    shares = resample(one_hot, moving, fixed, transform)
    shares[0] += 1 - shares.sum(axis=0)  # outside is background
    np.testing.assert_array_equal(ours, shares.argmax(axis=0))
    assert ours.dtype == np.int16 and set(np.unique(ours)) == {0, 1, 2, 3}


def test_a_soft_label_is_interpolated():
    """0.25 and 0.75 with shares 0.75 and 0.25: 0.375."""
    result = warped(np.float32([0, 0.25, 0.75, 1, 0, 0, 0, 0]), 0.25)
    np.testing.assert_allclose(result[:4], [0.0625, 0.375, 0.8125, 0.75])
    assert result.dtype == np.float32


@pytest.mark.parametrize("value", [1.5, -0.5, np.nan])
def test_values_that_are_neither_are_refused(value):
    with pytest.raises(ValueError, match=r"index map of whole numbers or a soft label"):
        warped([0, 0, value, 1, 0, 0, 0, 0], 0.25)
