"""Tests of how the phantom's gland is placed in both grids."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from deepreg_meta.dataset.phantom import placement
from deepreg_meta.dataset.phantom.anatomy import draw_anatomy
from deepreg_meta.dataset.phantom.deformation import jacobian_det
from deepreg_meta.dataset.phantom.grid import voxel_grid
from deepreg_meta.dataset.phantom.placement import place_case

MOVING, FIXED = (26, 28, 24), (20, 24, 18)


@pytest.mark.parametrize("seed", range(4))
def test_placed_map_is_a_safe_diffeomorphism_and_comes_with_its_grid(seed):
    rng = np.random.default_rng(seed)
    deformation, q = place_case(rng, draw_anatomy(rng, FIXED), MOVING, FIXED)
    x = voxel_grid(FIXED)
    np.testing.assert_array_equal(deformation.relax(x), q)
    assert jacobian_det(q - x).min() > 0.1


def test_flow_that_would_fold_the_grid_is_weakened():
    rng = np.random.default_rng(0)
    safe, _ = place_case(rng, draw_anatomy(rng, FIXED), MOVING, FIXED)
    wild = replace(safe, flow=replace(safe.flow, weights=6 * safe.flow.weights))
    x = voxel_grid(FIXED)
    assert jacobian_det(wild.relax(x) - x).min() < 0
    weaker, q = placement._make_smooth(wild, FIXED)
    assert jacobian_det(q - x).min() > 0.1
    ratio = weaker.flow.weights / wild.flow.weights
    np.testing.assert_allclose(ratio, ratio[0, 0])
    num = np.log(ratio[0, 0]) / np.log(0.8)  # times that the flow was weakened
    assert num > 0.5 and num == pytest.approx(round(num))
    assert weaker.push == pytest.approx(wild.push * 0.9 ** round(num))


def test_true_map_is_a_diffeomorphism(cases, large_cases):
    for case in [*cases, *large_cases]:
        assert jacobian_det(case.displacement).min() > 0


def test_gland_spans_its_share_of_the_fixed_grid(large_cases):
    for case in large_cases:
        found = np.argwhere(case.fixed_labels[0])
        share = (np.ptp(found, axis=0) + 1) / case.fixed_image.shape
        assert (share > 0.5).all() and (share < 0.8).all()


def test_glands_are_apart_when_grid_centres_agree(large_cases):
    for case in large_cases:
        moving, fixed = (
            np.subtract(ndimage.center_of_mass(gland), (np.array(gland.shape) - 1) / 2)
            for gland in (case.moving_labels[0], case.fixed_labels[0])
        )
        assert 4.2 < np.linalg.norm(moving - fixed) < 6.3
