"""Tests of deepreg_meta/layer/rescale.py."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.layer.rescale import (
    rescale,
    rescale_field,
    rescale_mask,
    rescale_weights,
)
from deepreg_meta.layer.warp import warp


@pytest.mark.parametrize("length", [1, 2, 7, 12, 33])
@pytest.mark.parametrize("target", [1, 3, 12, 24])
def test_it_is_tensorflows_resize_with_antialiasing(rng, length, target):
    lines = rng.normal(size=(length, 4)).astype(np.float32)
    expected = tf.image.resize(lines[None, :, :, None], [target, 4], antialias=True)
    found = rescale_weights(length, target) @ lines
    np.testing.assert_allclose(found, expected[0, :, :, 0], atol=1e-5)


@pytest.mark.parametrize("size", [(24, 21, 5), (6, 8, 5), (4, 4, 5)])
def test_what_is_linear_in_space_stays_so_away_from_the_border(size):
    """A plane over the box has the same value at the same place on every grid."""

    def plane(shape):
        axes = [(np.arange(n) + 0.5) / n for n in shape]
        x, y, z = np.meshgrid(*axes, indexing="ij")
        return 2.0 * x - y + 0.5 * z

    found = rescale(tf.constant(plane((12, 16, 5))[None]), size)[0].numpy()
    inner = (slice(1, -1), slice(1, -1))
    np.testing.assert_allclose(found[inner], plane(size)[inner], atol=1e-12)


def test_channels_and_batch_are_kept_apart(rng):
    volumes = rng.normal(size=(2, 6, 5, 4, 3))
    found = rescale(tf.constant(volumes), (3, 7, 4))
    assert found.shape == (2, 3, 7, 4, 3)
    for batch in range(2):
        for channel in range(3):
            alone = rescale(tf.constant(volumes[batch, ..., channel][None]), (3, 7, 4))
            np.testing.assert_allclose(found[batch, ..., channel], alone[0], atol=1e-12)


def test_a_shift_is_the_same_in_mm_on_every_grid(rng):
    """Half as many voxels along an axis: half the displacement along it."""
    shift = np.array([2.0, -3.0, 0.5])
    ddf = tf.constant(np.broadcast_to(shift, (1, 8, 6, 4, 3)))
    found = rescale_field(ddf, (4, 12, 4))
    np.testing.assert_allclose(found, np.broadcast_to([1, -6, 0.5], (1, 4, 12, 4, 3)))
    assert rescale_field(ddf, (8, 6, 4)) is ddf


def test_a_coarse_field_moves_the_fine_image_as_the_coarse_one():
    """A shift of one coarse voxel is one of two fine voxels: whole ones, so exact."""
    image = tf.reshape(tf.range(8.0 * 6 * 4), (1, 8, 6, 4)) ** 2
    coarse = tf.constant([1.0, 0, 0]) * tf.ones([1, 4, 3, 2, 3])
    moved = warp(image, rescale_field(coarse, (8, 6, 4)))
    np.testing.assert_array_equal(moved[:, :6], image[:, 2:])


def test_a_mask_keeps_what_is_at_least_half_in_it():
    mask = np.zeros((1, 8, 4, 1))
    mask[:, :4] = 1
    found = rescale_mask(tf.constant(mask), (4, 2, 1))
    np.testing.assert_array_equal(found[0, :, 0, 0], [1, 1, 0, 0])


def test_gradients_are_those_of_differences(rng):
    ddf = tf.constant(rng.normal(size=(1, 4, 3, 2, 3)))
    for size in ((2, 5, 2), (7, 2, 1)):
        ours, numerical = tf.test.compute_gradient(
            lambda x, size=size: rescale_field(x, size), [ddf]
        )
        np.testing.assert_allclose(ours[0], numerical[0], atol=1e-6)
        assert np.abs(ours[0]).max() > 0.3
