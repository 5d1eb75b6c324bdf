"""Tests of deepreg_meta/backbone/voxelmorph.py; reference: TensorFlow's operations."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.backbone.voxelmorph import VoxelMorph1, VoxelMorph2, doubling_matrix
from tests.helpers import randomize

# Channels into and out of each convolution, from the published widths: encoder 16, 32,
# 32, 32; the decoder's see what comes from below and the encoder's of their level.
ENCODER = [(2, 16), (16, 32), (32, 32), (32, 32)]
TO_HALF = [(32, 32), (32 + 32, 32), (32 + 32, 32), (32 + 16, 32)]
LAYERS = {
    VoxelMorph1: [*ENCODER, *TO_HALF, (32, 8), (8, 8), (8, 3)],
    VoxelMorph2: [*ENCODER, *TO_HALF, (32, 32), (32 + 2, 16), (16, 16), (16, 3)],
}
# 3^n products and biases: 9592 * 3^n + 259, and 11120 * 3^n + 307
NUM_WEIGHTS = {
    VoxelMorph1: {2: 86_587, 3: 259_243},
    VoxelMorph2: {2: 100_387, 3: 300_547},
}
SMALL = dict(num_channel_initial=4, out_kernel_initializer="glorot_uniform")


@pytest.fixture(params=[VoxelMorph1, VoxelMorph2], ids=lambda kind: kind.__name__)
def kind(request):
    return request.param


def images(rng, size, batch=2):
    return tf.constant(rng.normal(size=(batch, *size, 2)), tf.float32)


@pytest.mark.parametrize("size", [(16, 16, 1), (16, 16, 16)])
def test_the_weights_are_those_of_the_published_widths(kind, size):
    model = kind(size)
    model(tf.zeros([1, *size, 2]))
    ndims = 3 - size.count(1)
    by_hand = sum(3**ndims * i * o + o for i, o in LAYERS[kind])
    assert model.count_params() == by_hand == NUM_WEIGHTS[kind][ndims]
    shapes = [tuple(v.shape[3:]) for v in model.weights if v.shape.rank == 5]
    assert sorted(shapes) == sorted(LAYERS[kind])


def test_the_widths_are_in_proportion_to_the_first_one(kind):
    model = kind((8, 8, 1), num_channel_initial=4)
    assert list(model.encoder_widths) == [4, 8, 8, 8]
    last = {VoxelMorph1: [2, 2], VoxelMorph2: [8, 4, 4]}[kind]
    assert list(model.decoder_widths) == [8, 8, 8, 8, *last]
    assert min(kind((8, 8, 1), num_channel_initial=1).decoder_widths) == 1


def test_the_first_field_is_tiny_but_where_zeros_are_asked_for(rng, kind):
    x = images(rng, (8, 8, 1))
    kernel = kind((8, 8, 1), name="v")
    kernel(x)
    assert 5e-6 < np.std(kernel._heads[0].kernel) < 2e-5
    zero = kind((8, 8, 1), head_stddev=0.0)
    np.testing.assert_array_equal(zero(x), 0)
    assert np.std(kind((8, 8, 1), **SMALL)(x)) > 1e-3


# ---- the network, from its layers ----


def reference_in_2d(model, x):
    """
    Compute the field of the head from the weights alone, for sizes that 16 divides.

    :param x: shape = (batch, d1, d2, 2).
    :return: shape = (batch, d, d, 3).
    """

    def conv(x, layer, stride=1):
        kernel, bias = layer.weights[-2:]
        return tf.nn.conv2d(x, kernel[:, :, 0], stride, "SAME") + bias

    def block(x, layer, stride=1):
        x = conv(x, layer, stride)
        return tf.maximum(x, 0.2 * x)

    def enlarge(x):
        return tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2)

    skips = [x]
    for layer in model._encoder:
        skips.append(block(skips[-1], layer, 2))
    first, *others = model._decoder
    y = block(skips[4], first)
    for level, layer in zip([3, 2, 1], others[:3], strict=True):
        y = block(tf.concat([enlarge(y), skips[level]], -1), layer)
    y = block(y, others[3])
    for index, layer in enumerate(others[4:]):
        if isinstance(model, VoxelMorph2) and index == 0:
            y = tf.concat([enlarge(y), skips[0]], -1)
        y = block(y, layer)
    return conv(y, model._heads[0])


def test_the_second_network_is_the_published_one(rng):
    model, x = VoxelMorph2((16, 32, 1), **SMALL), images(rng, (16, 32, 1))
    model(x)
    randomize(model)
    expected = reference_in_2d(model, x[..., 0, :])
    assert expected.shape == (2, 16, 32, 3) and np.std(expected) > 0.01
    np.testing.assert_allclose(model(x)[..., 0, :], expected, atol=1e-5)


def test_the_first_network_doubles_what_it_predicts_at_half_size(rng):
    """In the interior as TensorFlow resizes; at the border that one repeats values."""
    model, x = VoxelMorph1((16, 32, 1), **SMALL), images(rng, (16, 32, 1))
    model(x)
    randomize(model)
    half = reference_in_2d(model, x[..., 0, :])
    assert half.shape == (2, 8, 16, 3) and np.std(half) > 0.01
    expected = tf.image.resize(half, (16, 32)) * [2.0, 2.0, 1.0]
    found = model(x)[..., 0, :]
    np.testing.assert_allclose(found[:, 1:-1, 1:-1], expected[:, 1:-1, 1:-1], atol=1e-5)


# ---- from half size to full size ----


@pytest.mark.parametrize("size", [(6, 8, 4), (7, 5, 9), (7, 6, 1), (2, 3, 1)])
def test_a_linear_field_is_enlarged_exactly_and_doubled(rng, size):
    """Up to the border, and where the grid is odd; constant fields are among them."""
    model = VoxelMorph1(size, num_channel_initial=1)
    slopes, offset = rng.normal(size=(3, 3)), rng.normal(size=3)
    for axis, length in enumerate(size):
        if length < 3:  # a single coarse voxel knows no slope
            slopes[axis] = 0

    def field(*axes):
        return np.stack(np.meshgrid(*axes, indexing="ij"), -1) @ slopes + offset

    full = field(*[np.arange(length) for length in size])
    # the centres of pairs of voxels
    half = field(*[[0] if n == 1 else np.arange(0, n, 2) + 0.5 for n in size])
    steps = np.array([1 if n == 1 else 2 for n in size])
    found = model.enlarge(tf.constant(half[None] / steps))
    np.testing.assert_allclose(found[0], full, atol=1e-12)


def test_the_weights_of_the_enlargement_are_quarters():
    expected = [[1.25, -0.25], [0.75, 0.25], [0.25, 0.75]]
    np.testing.assert_array_equal(doubling_matrix(3), expected)
    assert doubling_matrix(1) is None
    np.testing.assert_array_equal(doubling_matrix(2), [[1.0], [1.0]])
