"""Tests of the phantom's grids."""

import numpy as np
import pytest

from deepreg_meta.dataset.phantom.grid import check_shape, grid_scale, voxel_grid


def test_grid_lists_coordinates_in_the_order_of_the_axes():
    grid = voxel_grid((5, 6, 7))
    assert grid.shape == (5, 6, 7, 3)
    np.testing.assert_array_equal(grid[4, 5, 2], [4, 5, 2])
    coarse = voxel_grid((5, 6, 7), step=2)
    assert coarse.shape == (3, 3, 4, 3)
    np.testing.assert_array_equal(coarse[2, 1, 3], [4, 2, 6])


def test_scale_is_the_cube_root_of_the_volume_ratio():
    assert grid_scale((36, 44, 32)) == pytest.approx(1)
    assert grid_scale((18, 22, 16)) == pytest.approx(0.5)
    assert grid_scale((8 * 36, 44, 32)) == pytest.approx(2)


def test_shape_of_too_few_or_too_short_sides_is_refused():
    assert check_shape("fixed_shape", np.array([12, 13, 14])) == (12, 13, 14)
    with pytest.raises(ValueError, match=r"fixed_shape: .*12 voxels, got \(12, 11, 14"):
        check_shape("fixed_shape", (12, 11, 14))
    with pytest.raises(ValueError, match="moving_shape: expected three sides"):
        check_shape("moving_shape", (20, 20))
    with pytest.raises(ValueError, match="2-D images: name folders in dataset.dir"):
        check_shape("moving_shape", (20, 20, 1))
