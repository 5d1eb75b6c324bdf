"""Tests of deepreg_meta/backbone/unet_transposed.py; reference: VoxelMorph-2."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.backbone.unet_transposed import UNetTransposed
from deepreg_meta.backbone.voxelmorph import VoxelMorph2
from tests.helpers import randomize, values

SMALL = dict(num_channel_initial=4, depth=2, out_kernel_initializer="glorot_uniform")


def images(rng, size):
    return tf.constant(rng.normal(size=(2, *size, 2)), tf.float32)


@pytest.mark.parametrize("size", [(16, 16, 1), (16, 16, 16)])
def test_its_weights_are_those_of_voxelmorph2_and_of_four_enlargements(size):
    """Each keeps 32 channels."""
    model = UNetTransposed(size)
    model(tf.zeros([1, *size, 2]))
    ndims = 3 - size.count(1)
    voxelmorph2 = 11120 * 3**ndims + 307  # see test_voxelmorph.py
    by_hand = voxelmorph2 + 4 * (3**ndims * 32 * 32 + 32)
    assert model.count_params() == by_hand == {2: 137_379, 3: 411_267}[ndims]


def enlargements(model):
    return [block._enlarge for block in model._decoder if hasattr(block, "_enlarge")]


@pytest.mark.parametrize("size", [(8, 12, 1), (8, 4, 12)])
def test_kernels_that_repeat_voxels_make_it_voxelmorph2(rng, size):
    """
    A kernel of two ones along each axis writes a voxel to two. For even sizes output
    o of a transposed convolution is the sum of input i times tap o - 2 i.
    """
    plain, learned = VoxelMorph2(size, **SMALL), UNetTransposed(size, **SMALL)
    x = images(rng, size)
    plain(x), learned(x)
    randomize(plain)
    for ours, theirs in zip(learned._encoder, plain._encoder, strict=True):
        ours.set_weights(values(theirs.weights))
    for ours, theirs in zip(learned._decoder, plain._decoder, strict=True):
        conv = ours._conv if hasattr(ours, "_enlarge") else ours
        conv.set_weights(values(theirs.weights))
    learned._heads[0].set_weights(values(plain._heads[0].weights))
    assert len(enlargements(learned)) == 2
    for up in enlargements(learned):
        up._activation = tf.identity  # repeating has none
        kernel, bias = up.weights
        repeat = np.ones([1, 1, 1])
        for axis, length in enumerate(size):
            taps = [1.0] if length == 1 else [1.0, 1.0, 0.0]
            repeat = repeat * np.reshape(taps, np.roll([-1, 1, 1], axis))
        channels = np.eye(kernel.shape[3])
        kernel.assign(repeat[..., None, None] * channels)
        bias.assign(tf.zeros_like(bias))
    expected = plain(x)
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(learned(x), expected, atol=1e-5)


def test_the_enlargement_is_rectified(rng):
    """By the leaky ReLU of the other blocks: slope 0.2 below zero."""
    up = enlargements(UNetTransposed((8, 8, 1), **SMALL))[0]
    x = tf.constant(rng.normal(size=(1, 2, 2, 1, 8)), tf.float32)
    rectified = up(x)
    linear = up._deconv(x)
    assert np.min(linear) < -0.1
    np.testing.assert_allclose(
        rectified, np.where(linear > 0, linear, 0.2 * linear), rtol=1e-6
    )


def test_depth_and_widths_are_options(rng):
    model = UNetTransposed((9, 6, 1), depth=1, encoder=[3], decoder=[4, 6, 5])
    model(images(rng, (9, 6, 1)))
    shapes = sorted(tuple(v.shape[3:]) for v in model.weights if v.shape.rank == 5)
    # a transposed kernel has its output first; it keeps the 6 channels of level 1
    assert shapes == sorted([(2, 3), (3, 4), (4, 6), (6, 6), (6 + 2, 5), (5, 3)])
