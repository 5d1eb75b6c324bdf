"""Tests of deepreg_meta/layer/radial_filter.py; reference: SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from deepreg_meta.layer.radial_filter import (
    BORDERS,
    convolve,
    filter_separably,
    tap_places,
)
from deepreg_meta.layer.radial_kernel import dense_kernel

SCIPY = {"edge": "nearest", "zero": "constant"}
SIZES = [(6, 7), (20, 35), (2, 3), (5, 6, 7), (3, 2, 18)]


def reference(volumes, kernel, border):
    return np.stack([ndimage.convolve(v, kernel, mode=SCIPY[border]) for v in volumes])


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("taps", [3, 5, 13])
def test_it_is_scipys_convolution(rng, border, size, taps):
    """Kernels that are not symmetric, of more taps than there are voxels too."""
    volumes = rng.normal(size=(2, *size))
    kernel = rng.normal(size=[taps] * len(size))
    found = convolve(tf.constant(volumes), tf.constant(kernel), border)
    expected = reference(volumes, kernel, border)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("taps", [3, 13])
@pytest.mark.parametrize("dtype", [tf.float32, tf.float64])
def test_a_separable_filter_is_the_convolution_with_the_outer_product(
    rng, border, size, taps, dtype
):
    half = rng.uniform(0.1, 1, taps // 2 + 1)
    half /= 2 * half.sum() - half[0]  # a sum of 1, so that rounding is that of 1
    volumes = rng.normal(size=(2, *size))
    found = filter_separably(
        tf.constant(volumes, dtype), tf.constant(half, dtype), border
    )
    kernel = dense_kernel("separable", tf.constant(half), taps, len(size))
    expected = convolve(tf.constant(volumes), kernel, border)
    assert np.std(expected) > 1e-3
    atol = 1e-6 if dtype == tf.float32 else 1e-12
    np.testing.assert_allclose(found, expected, rtol=0, atol=atol)
    by_scipy = reference(volumes, kernel.numpy(), border)
    np.testing.assert_allclose(found, by_scipy, rtol=0, atol=atol)


def test_taps_beyond_the_border_go_to_the_outer_voxel_or_nowhere():
    """Three voxels, five taps: what the first one takes of them, tap by tap."""
    edge, zero = (tap_places(3, 5, border) for border in ("edge", "zero"))
    np.testing.assert_array_equal(edge[:, 0], [[1, 0, 0], [1, 1, 0], [1, 0, 1]])
    np.testing.assert_array_equal(zero[:, 0], [[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_array_equal(edge.sum(axis=(0, 2)), [5, 5, 5])  # no tap is lost


@pytest.mark.parametrize("size", [(6, 7), (5, 6, 7)])
def test_constants_stay_within_edges_and_shrink_at_zeros(size):
    """At a corner a profile of (1, 2, 1) / 4 finds 3/4 of it per axis."""
    volumes, half = 4.0 * tf.ones([1, *size]), tf.constant([0.5, 0.25])
    kernel = dense_kernel("separable", half, 3, len(size))
    for found in (
        filter_separably(volumes, half, "edge"),
        convolve(volumes, kernel, "edge"),
    ):
        np.testing.assert_allclose(found, volumes, rtol=0, atol=1e-6)
    for found in (
        filter_separably(volumes, half, "zero"),
        convolve(volumes, kernel, "zero"),
    ):
        corner, middle = found[(0, *[0] * len(size))], found[(0, *[2] * len(size))]
        assert float(corner) == pytest.approx(4.0 * 0.75 ** len(size))
        assert float(middle) == pytest.approx(4.0)


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size", [(3, 4), (2, 3, 4)])
@pytest.mark.parametrize("is_separable", [True, False])
def test_gradients_are_those_of_differences(mode, rng, border, size, is_separable):
    """To the volumes and to the weights."""
    volumes = tf.constant(rng.normal(size=(1, *size)))
    shape = [3] if is_separable else [3] * len(size)
    weights = tf.constant(rng.normal(size=shape))
    operation = filter_separably if is_separable else convolve
    function = mode(lambda v, w: operation(v, w, border))
    ours, numerical = tf.test.compute_gradient(function, [volumes, weights], delta=1e-6)
    for a, b in zip(ours, numerical, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-7)
        assert np.abs(a).max() > 0.1


@pytest.mark.parametrize("operation", [filter_separably, convolve])
def test_the_batch_may_be_unknown_when_traced(rng, operation):
    volumes = tf.constant(rng.normal(size=(3, 6, 7)))
    shape = [3] if operation is filter_separably else [3, 3]
    weights = tf.constant(rng.normal(size=shape))
    spec = tf.TensorSpec([None, 6, 7], tf.float64)
    function = tf.function(
        lambda v: operation(v, weights, "edge"), input_signature=[spec]
    )
    expected = operation(volumes, weights, "edge")
    np.testing.assert_allclose(function(volumes), expected, atol=1e-12)
