"""Tests of deepreg_meta/backbone/convolution.py."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.backbone.convolution import (
    ConvBlock,
    NearestDoubling,
    UpConvBlock,
    interpolate,
    leaky_relu,
    level_sizes,
    linear_matrix,
)
from deepreg_meta.backbone.field_backbone import planar
from tests.helpers import values


def test_sizes_are_1_along_singleton_axes_and_levels_round_up():
    assert planar(3, (4, 1, 9)) == (3, 1, 3)
    assert level_sizes((7, 1, 12), 3) == [(7, 1, 12), (4, 1, 6), (2, 1, 3), (1, 1, 2)]


def test_an_image_is_convolved_as_the_middle_slice_of_a_stack(rng):
    """With nothing in the other slices, only the middle of a kernel meets it."""
    deep = ConvBlock(4, (6, 7, 5), tf.nn.elu)
    flat = ConvBlock(4, (6, 7, 1), tf.nn.elu)
    image = rng.normal(size=(2, 6, 7, 1, 3)).astype(np.float32)
    stack = np.pad(image, [(0, 0)] * 3 + [(2, 2), (0, 0)])
    expected = deep(stack)[..., 2:3, :]
    flat(image)
    kernel, bias = values(deep.weights)
    flat.set_weights([kernel[:, :, 1:2], bias])
    np.testing.assert_allclose(flat(image), expected, atol=1e-5)


@pytest.mark.parametrize("size", [(6, 5, 4), (5, 6, 1), (1, 3, 2)])
def test_nearest_doubling_repeats_voxels_and_cuts(rng, size):
    coarse = rng.normal(size=(2, *level_sizes(size, 1)[1], 3)).astype(np.float32)
    expected = coarse
    for axis, length in enumerate(size, start=1):
        if length > 1:
            expected = np.repeat(expected, 2, axis).take(np.arange(length), axis)
    np.testing.assert_array_equal(NearestDoubling(size)(coarse), expected)


def test_nearest_doubling_hands_each_voxel_the_gradient_of_its_copies():
    """Eight in a volume, fewer where an odd grid was cut."""
    coarse = tf.Variable(tf.zeros([1, 2, 2, 2, 1]))
    with tf.GradientTape() as tape:
        value = tf.reduce_sum(NearestDoubling((4, 3, 4))(coarse))
    gradient = tape.gradient(value, coarse)[0, ..., 0]
    np.testing.assert_array_equal(gradient[:, 0], 8.0)
    np.testing.assert_array_equal(gradient[:, 1], 4.0)


@pytest.mark.parametrize("size", [(6, 5, 4), (5, 6, 1)])
def test_transposed_convolution_is_the_adjoint_of_the_strided_one(rng, size):
    """<conv x, y> = <x, deconv y> for the same kernel, on odd grids too."""
    block = UpConvBlock(2, size, 0, tf.identity)
    coarse = level_sizes(size, 1)[1]
    x = tf.constant(rng.normal(size=(1, *size, 2)), tf.float32)
    y = tf.constant(rng.normal(size=(1, *coarse, 3)), tf.float32)
    enlarged = block(y)
    assert enlarged.shape == x.shape
    kernel = block.weights[0]  # (k1, k2, k3, out, in) of a transposed convolution
    strides = [1, *planar(2, size), 1]
    reduced = tf.nn.conv3d(x, tf.convert_to_tensor(kernel), strides, "SAME")
    np.testing.assert_allclose(
        tf.reduce_sum(reduced * y), tf.reduce_sum(x * enlarged), rtol=1e-4
    )


def test_linear_weights_are_exact_for_lines_beyond_the_ends_too():
    positions = np.array([-1.5, -0.25, 0.0, 0.75, 2.0, 3.5])
    matrix = linear_matrix(positions, 3)
    np.testing.assert_allclose(matrix @ [2.0, 5.0, 8.0], 2.0 + 3.0 * positions)
    np.testing.assert_array_equal(matrix[3], [0.25, 0.75, 0.0])
    np.testing.assert_array_equal(linear_matrix(positions, 1), np.ones((6, 1)))


def test_interpolation_sums_over_each_axis(rng, mode):
    matrices = [rng.normal(size=(5, 3)), None, rng.normal(size=(4, 2))]
    field = rng.normal(size=(2, 3, 6, 2, 3))
    expected = np.einsum("ai,bj,nikjc->nakbc", matrices[0], matrices[2], field)
    found = mode(lambda: interpolate(tf.constant(field), matrices))()
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_the_gradient_of_the_interpolation_is_its_transpose(rng):
    matrices = [rng.normal(size=(3, 2)), None, rng.normal(size=(2, 2))]
    field = tf.constant(rng.normal(size=(1, 2, 2, 2, 1)))
    analytic, numeric = tf.test.compute_gradient(
        lambda x: interpolate(x, matrices), [field]
    )
    np.testing.assert_allclose(analytic, numeric, atol=1e-7)


@pytest.mark.parametrize("dtype", [tf.float64, tf.bfloat16])
def test_leaky_relu_and_its_gradient_are_tensorflows(rng, dtype):
    features = tf.constant([*rng.normal(size=20), 0.0], dtype)
    above = tf.constant(rng.normal(size=21), dtype)

    def both(function):
        with tf.GradientTape() as tape:
            tape.watch(features)
            value = function(features)
        return value, tape.gradient(value, features, output_gradients=above)

    plain = both(lambda x: tf.nn.leaky_relu(x, alpha=0.2))
    for found, expected in zip(both(leaky_relu), plain, strict=True):
        np.testing.assert_array_equal(found, expected)
