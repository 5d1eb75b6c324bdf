"""Tests of deepreg_meta/layer/radial_filter.py; reference: SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from deepreg_meta.layer.radial_filter import (
    BORDERS,
    convolve,
    filter_field,
    tap_places,
)
from deepreg_meta.layer.radial_kernel import dense_kernel

SCIPY = {"edge": "nearest", "zero": "constant"}
SIZES = [(6, 7), (20, 35), (2, 3), (5, 6, 7), (3, 2, 18)]
LONG = [(100, 130), (3, 4, 100)]  # band matrices of several blocks


def filter_separably(volumes, half, border):
    """Filter the components of fields, all alike; shape = (batch, d1, d2[, d3])."""
    size = volumes.shape[1:].as_list()
    field = tf.stack([tf.reshape(volumes, [-1, *(size + [1])[:3]])] * 3, axis=-1)
    found = filter_field(field, half, tuple(range(len(size))), border)
    for axis in range(1, len(size)):
        np.testing.assert_allclose(found[..., axis], found[..., 0], rtol=0, atol=1e-6)
    if len(size) == 2:  # nothing lies along the third axis
        np.testing.assert_array_equal(found[..., 2], field[..., 2])
    return tf.reshape(found[..., 0], [-1, *size])


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
@pytest.mark.parametrize("size", [*SIZES, *LONG])
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
def test_gradients_of_a_convolution_are_those_of_differences(mode, rng, border, size):
    """To the volumes and to the kernel."""
    volumes = tf.constant(rng.normal(size=(1, *size)))
    weights = tf.constant(rng.normal(size=[3] * len(size)))
    function = mode(lambda v, w: convolve(v, w, border))
    check_gradients(function, [volumes, weights])


def check_gradients(function, inputs):
    ours, numerical = tf.test.compute_gradient(function, inputs, delta=1e-6)
    for a, b in zip(ours, numerical, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-7)
        assert np.abs(a).max() > 0.1


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size", [(3, 4, 1), (1, 4, 3), (2, 3, 4)])
def test_gradients_of_a_filter_are_those_of_differences(mode, rng, border, size):
    """To the field and to the profile; the filter beyond it is no symmetric matrix."""
    axes = tuple(axis for axis in range(3) if size[axis] > 1)
    field = tf.constant(rng.normal(size=(2, *size, 3)))
    half = tf.constant(rng.normal(size=[3]))
    function = mode(lambda f, h: filter_field(f, h, axes, border))
    check_gradients(function, [field, half])


@pytest.mark.parametrize("border", BORDERS)
@pytest.mark.parametrize("size", LONG)
def test_gradients_of_long_filters_are_those_of_the_convolution(rng, border, size):
    axes = tuple(range(len(size)))
    field = tf.constant(rng.normal(size=(2, *(size + (1,))[:3], 3)))
    half = tf.constant(rng.normal(size=[5]))
    upstream = tf.constant(rng.normal(size=field.shape))

    def by_convolution(field, half):
        kernel = dense_kernel("separable", half, 9, len(size))
        parts = tf.unstack(field, axis=-1)
        for axis in axes:
            volumes = tf.reshape(parts[axis], [-1, *size])
            moved = convolve(volumes, kernel, border)
            parts[axis] = tf.reshape(moved, parts[axis].shape)
        return tf.stack(parts, axis=-1)

    found = []
    for function in (lambda f, h: filter_field(f, h, axes, border), by_convolution):
        with tf.GradientTape() as tape:
            tape.watch([field, half])
            value = function(field, half)
        found.append(tape.gradient(value, [field, half], output_gradients=upstream))
    for ours, expected in zip(*found, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-9, atol=1e-9)
        assert np.abs(ours).max() > 1.0


@pytest.mark.parametrize("kind", ["filter", "convolution"])
def test_the_batch_may_be_unknown_when_traced(rng, kind):
    def operation(volumes):
        if kind == "convolution":
            return convolve(volumes, tf.ones([3, 3], tf.float64), "edge")
        field = tf.stack([volumes[..., None]] * 3, axis=-1)
        return filter_field(field, tf.constant([0.5, 0.3], tf.float64), (0, 1), "edge")

    volumes = tf.constant(rng.normal(size=(3, 6, 7)))
    spec = tf.TensorSpec([None, 6, 7], tf.float64)
    function = tf.function(operation, input_signature=[spec])
    np.testing.assert_allclose(function(volumes), operation(volumes), atol=1e-12)
