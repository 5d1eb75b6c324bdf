"""Tests of the phantom's ultrasound image."""

import numpy as np
import pytest
from scipy import ndimage

from deepreg_meta.dataset.phantom import ultrasound
from deepreg_meta.dataset.phantom.grid import voxel_grid
from deepreg_meta.dataset.phantom.landmark import Landmark


def test_us_is_dark_in_the_probe_and_the_rectal_wall_before_it_is_bright(large_cases):
    for case in large_cases:
        gland = case.fixed_labels[0] > 0
        profile = case.fixed_image[:, 19:25, :].mean(axis=(1, 2))
        back = np.argwhere(gland)[:, 0].max()
        assert profile[-1] < 0.15
        assert profile[back - 1 : back + 5].max() > 1.3 * case.fixed_image[gland].mean()
        assert (case.fixed_image[-1, [0, -1]] < 0.02).all()  # outside the fan


def test_calcification_is_bright_in_us_and_throws_a_shadow(large_cases):
    for case in large_cases:
        fixed = case.fixed_labels[1] > 0
        gland = case.fixed_image[case.fixed_labels[0] > 0].mean()
        assert case.fixed_image[fixed].mean() > 1.6 * gland
        c = np.round(ndimage.center_of_mass(fixed)).astype(int)
        lowest = np.argwhere(fixed)[:, 0].min()
        before = case.fixed_image[max(lowest - 4, 0) : lowest - 1, :, c[2]]
        assert before[:, c[1] - 2 : c[1] + 3].min() < 0.3 * gland


def test_shadow_lies_behind_the_calcification_seen_from_the_probe():
    mark = Landmark("calcification", np.zeros(3), np.array([10.0, 6.0, 3.0]), 2.0)
    probe = np.full((7, 2), [20.0, 6.0])  # at the high end of axis 0
    dark = ultrasound._shadow(mark, probe, voxel_grid((21, 13, 7)))
    assert dark[4, 6, 3] > 0.99
    assert dark[14, 6, 3] < 0.01 and dark[4, 0, 3] < 0.01
    # 3 voxels off the axis are 1.5 radii, half a radius outside an edge of 0.12
    assert dark[4, 6, 0] == pytest.approx(1 / (1 + np.exp(0.5 / 0.12)), rel=1e-3)
    # 16 voxels from the probe the shadow's half width is 2 * 16 / 10
    assert dark[4, 6 + 3, 3] > 0.5 > dark[4, 6 + 4, 3]


def test_speckle_is_rayleigh_of_mean_square_one(rng):
    x = voxel_grid((24, 26, 20))
    speckle = ultrasound._speckle(rng, x[..., 0], x[..., 1] / 20 - 0.5, 1.0)
    assert (speckle**2).mean() == pytest.approx(1)
    # the mean of a Rayleigh variable is sqrt(pi) / 2 of its root mean square
    assert speckle.mean() == pytest.approx(np.sqrt(np.pi) / 2, abs=0.02)
