"""Tests of the phantom's MR image."""

import numpy as np
from scipy import ndimage


def test_mr_shows_a_brighter_rim_than_core(large_cases):
    for case in large_cases:
        gland = case.moving_labels[0] > 0
        depth = ndimage.distance_transform_edt(gland)
        middle = round(ndimage.center_of_mass(gland)[0])
        back = np.arange(gland.shape[0])[:, None, None] > middle
        rim = case.moving_image[(depth > 1.5) & (depth < 4) & back].mean()
        core = case.moving_image[depth > 0.7 * depth.max()].mean()
        assert rim > core + 0.05


def test_calcification_is_dark_in_mr(large_cases):
    for case in large_cases:
        assert case.moving_image[case.moving_labels[1] > 0].min() < 0.15
