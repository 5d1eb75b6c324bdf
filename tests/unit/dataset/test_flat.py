"""Tests of deepreg_meta/dataset/flat.py."""

import pytest

from deepreg_meta.dataset.flat import label_shape, volume_shape


@pytest.mark.parametrize(
    ("shape", "whole"),
    [((5, 6), (5, 6, 1)), ((5, 6, 1), (5, 6, 1)), ((5, 6, 7, 2), (5, 6, 7, 2))],
)
def test_two_axes_get_a_third_one(shape, whole):
    assert volume_shape(shape) == whole


@pytest.mark.parametrize("image", [(5, 6), (5, 6, 1)])
@pytest.mark.parametrize(
    ("label", "whole"),
    [
        ((5, 6), (5, 6, 1)),
        ((5, 6, 1), (5, 6, 1)),
        ((5, 6, 3), (5, 6, 1, 3)),
        ((5, 6, 1, 3), (5, 6, 1, 3)),
        ((5, 7, 3), (5, 7, 3)),  # another grid, which is reported as such
    ],
)
def test_channels_of_a_2d_label_come_after_its_third_axis(image, label, whole):
    assert label_shape(label, image) == whole


def test_the_slices_of_a_volume_are_no_channels():
    assert label_shape((5, 6, 7), (5, 6, 7)) == (5, 6, 7)
    assert label_shape((5, 6, 7), (5, 6, 4)) == (5, 6, 7)
