"""Tests of resizing: DeepReg as reference, and points that keep their place."""

import numpy as np
import pytest

from deepreg_meta.dataset.resize import resize_affine, resize_linear, voxel_sides
from deepreg_meta.stack import require_stack

SHAPES = [(5, 6, 7), (10, 3, 7), (4, 13, 1), (2, 2, 20), (1, 6, 7)]
AFFINE = np.array(
    [[0.0, -0.5, 0.0, 3.0], [2.0, 0.0, 0.0, -1.0], [0.0, 0.0, 1.5, 7.0], [0, 0, 0, 1]]
)


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


@pytest.mark.parametrize("shape", SHAPES[:4])
def test_a_point_keeps_its_place_in_space(shape):
    # An image whose value is its own world coordinate: after resizing, the value at a
    # voxel is the coordinate that the new affine gives (off the constant border).
    grid = np.stack(np.meshgrid(*map(np.arange, (5, 6, 7)), indexing="ij"))
    world = (
        np.einsum("ij,j...->i...", AFFINE[:3, :3], grid)
        + AFFINE[:3, 3, None, None, None]
    )
    resized = resize_linear(world, shape)
    affine = resize_affine(AFFINE, (5, 6, 7), shape)
    num_checked = 0
    for voxel in np.ndindex(*shape):
        old = (np.array(voxel) + 0.5) * (5, 6, 7) / np.array(shape) - 0.5
        if (old >= 0).all() and (old <= (4, 5, 6)).all():
            expected = (affine @ [*voxel, 1])[:3]
            np.testing.assert_allclose(resized[(slice(None), *voxel)], expected)
            num_checked += 1
    assert num_checked >= 4


@pytest.mark.parametrize("shape", SHAPES)
def test_the_outer_faces_of_a_volume_stay(shape):
    affine = resize_affine(AFFINE, (5, 6, 7), shape)
    low, high = [-0.5] * 3 + [1], np.array([5, 6, 7, 1.5]) - 0.5
    new_high = np.array([*shape, 1.5]) - 0.5
    np.testing.assert_allclose(affine @ low, AFFINE @ low)
    np.testing.assert_allclose(affine @ new_high, AFFINE @ high)


def test_the_sides_of_a_voxel_are_the_lengths_of_the_columns():
    np.testing.assert_allclose(voxel_sides(AFFINE), [2.0, 0.5, 1.5])
