"""Tests of deepreg_meta/model/free_field.py."""

import numpy as np
import pytest
import tensorflow as tf
from scipy.ndimage import gaussian_filter1d

from deepreg_meta.model.free_field import FreeField, smoothing_matrix

SIZE = (5, 6, 7)


def displaced(field, values):
    """:return: the field, its displacements set."""
    field.displacement.assign(values)
    return field.field().numpy()


@pytest.mark.parametrize("sigma", [0.7, 2.0])
def test_smoothing_is_scipys_with_what_lies_beyond_left_out(rng, sigma):
    values, ones = rng.standard_normal(9), np.ones(9)

    def padded(signal):
        return gaussian_filter1d(signal, sigma, mode="constant", radius=int(3 * sigma))

    expected = padded(values) / padded(ones)
    found = smoothing_matrix(9, sigma).numpy() @ values
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_displacements_are_smoothed_along_every_axis(rng):
    values = rng.standard_normal((1, *SIZE, 3)).astype(np.float32)
    expected = values
    for axis, length in enumerate(SIZE, start=1):
        matrix = smoothing_matrix(length, 1.5).numpy()
        expected = np.moveaxis(np.tensordot(matrix, expected, (1, axis)), 0, axis)
    found = displaced(FreeField(SIZE, 1.5), values)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.abs(found - values).max() > 0.5


def test_a_constant_field_stays_as_it_is_and_without_sigma_every_field_does(rng):
    constant = np.broadcast_to([1.0, -2.0, 0.5], (1, *SIZE, 3))
    np.testing.assert_allclose(
        displaced(FreeField(SIZE, 2.0), constant), constant, atol=1e-6
    )
    values = rng.standard_normal((1, *SIZE, 3)).astype(np.float32)
    np.testing.assert_array_equal(displaced(FreeField(SIZE, 0.0), values), values)


def test_it_starts_from_a_field_bit_for_bit_and_forgets_the_last_one(rng):
    field = FreeField(SIZE)
    field.displacement.assign(rng.standard_normal((1, *SIZE, 3)))
    start = rng.standard_normal((1, *SIZE, 3)).astype(np.float32)
    field.start(start)
    np.testing.assert_array_equal(field.field(), start)
    assert not field.added().numpy().any()


def test_an_image_is_not_displaced_out_of_its_plane(rng):
    values = rng.standard_normal((1, 5, 6, 1, 3)).astype(np.float32)
    found = displaced(FreeField((5, 6, 1)), values)
    assert not found[..., 2].any() and found[..., :2].any()


def test_the_gradient_is_that_of_the_smoothing(rng):
    """<w, G v> has the gradient G^T w."""
    field = FreeField(SIZE, 1.0)
    weight = rng.standard_normal((1, *SIZE, 3)).astype(np.float32)
    with tf.GradientTape() as tape:
        [found] = field.fields(None, None)
        total = tf.reduce_sum(found * weight)
    gradient = tape.gradient(total, field.displacement)
    expected = weight
    for axis, length in enumerate(SIZE, start=1):
        matrix = smoothing_matrix(length, 1.0).numpy().T
        expected = np.moveaxis(np.tensordot(matrix, expected, (1, axis)), 0, axis)
    np.testing.assert_allclose(gradient, expected, atol=1e-5)
    assert [v.name for v in field.trainable_variables] == [field.displacement.name]
