"""Tests of the phantom's anatomy."""

from dataclasses import replace

import numpy as np
import pytest

from deepreg_meta.dataset.phantom.anatomy import draw_anatomy


@pytest.mark.parametrize(
    ("q", "radius"),
    [
        ((0, 0, 0), 0),
        ((-4, 0, 0), 1),  # half sides are (4, 6, 5)
        ((4, 0, 0), 1.16),  # the hollow of the posterior midline
        ((0, -6, 0), 1),
        ((0, 0, 10), 2),
        # 3-4-5 triangle; widths 1 + 0.16 b - 0.1 b^2 at b = 0.8 (base), -0.8 (apex)
        ((0, 6 * 0.6 * 1.064, 4), 1),
        ((0, 6 * 0.6 * 0.808, -4), 1),
    ],
)
def test_gland_has_radius_one_on_its_surface(plain, q, radius):
    assert plain.gland(np.array(q, float)) == pytest.approx(radius, abs=1e-3)


def test_uneven_surface_scales_the_radius(plain, flat):
    larger = replace(plain, shape=flat(0.25))
    assert larger.gland(np.array([0, 6.0, 0])) == pytest.approx(1 / 1.25)


def test_rectum_lies_behind_the_gland_along_a_tilted_line(plain):
    # axis at 4 + 2 + 3 = 9 voxels, tilted by 0.1 per slice, 1 voxel to the left
    found = plain.rectum(np.array([[10.0, 2.0, 5.0]]))
    np.testing.assert_allclose(found, [[10 - 9 - 0.5, 2 + 1]])


def test_lengths_of_a_drawn_subject_follow_the_grid():
    large = draw_anatomy(np.random.default_rng(4), (36, 44, 32))
    small = draw_anatomy(np.random.default_rng(4), (18, 22, 16))
    assert large.scale == pytest.approx(1) and small.scale == pytest.approx(0.5)
    np.testing.assert_allclose(small.half, large.half / 2)
    assert small.rectum_gap == pytest.approx(large.rectum_gap / 2)
    q = np.array([[3.0, -5.0, 4.0], [9.0, 2.0, -6.0]])
    np.testing.assert_allclose(small.gland(q / 2), large.gland(q))
    np.testing.assert_allclose(small.texture(q / 2), large.texture(q))
