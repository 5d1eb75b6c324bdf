"""Tests of deepreg_meta/loss/kernel.py; references: DeepReg's kernel and SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from deepreg.loss.label import gaussian_kernel1d
from scipy import ndimage

from deepreg_meta.loss import kernel
from deepreg_meta.loss.kernel import (
    filter_along_axes,
    gaussian_matrix,
    split_tf32,
    tf32_factors,
    window_matrix,
)

SIZE = (6, 7, 8)


@pytest.mark.parametrize("sigma", [0.2, 1.0, 1.5, 4.0])
def test_the_matrix_filters_as_deepregs_kernel_with_zeros_outside(sigma):
    matrix = gaussian_matrix(7, sigma).numpy()
    kernel = gaussian_kernel1d(sigma).numpy()
    unit = np.eye(7, dtype=np.float32)
    expected = ndimage.convolve1d(unit, kernel, axis=0, mode="constant")
    np.testing.assert_allclose(matrix, expected, atol=1e-6)
    np.testing.assert_array_equal(matrix, matrix.T)


@pytest.mark.parametrize("sigma", [8.0, 8.4, 33.5, 400.0])
def test_kernels_longer_than_the_volume_are_normalised_as_a_whole(mode, sigma):
    """Also the taps that lie outside count; 8 and 8.4 are summed and integrated."""
    kernel = np.exp(
        -0.5 * (np.arange(-int(3 * sigma), int(3 * sigma) + 1) / sigma) ** 2
    )
    for dtype, tolerance in ((tf.float32, 1e-6), (tf.float64, 1e-7)):
        matrix = mode(lambda x, dtype=dtype: gaussian_matrix(5, x, dtype))(sigma)
        assert matrix.dtype == dtype
        np.testing.assert_allclose(matrix[0, 0], 1 / kernel.sum(), rtol=tolerance)
        ratio = np.exp(-0.5 * (4 / sigma) ** 2)
        np.testing.assert_allclose(matrix[0, 4] / matrix[0, 0], ratio, rtol=tolerance)


@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_no_tap_beside_the_middle_is_no_filter(sigma):
    np.testing.assert_array_equal(gaussian_matrix(4, sigma), np.eye(4))


@pytest.mark.parametrize("profile", [[1, 1, 1], [1, 2, 5], [1, 2, 4, 3]])
def test_windows_lie_where_tensorflow_pads_them(rng, profile):
    """Uneven weights show a window that is turned, or beside its middle."""
    line = rng.standard_normal(6)
    kernel = tf.constant(profile, tf.float64)[:, None, None]
    expected = tf.nn.conv1d(line[None, :, None], kernel, 1, "SAME")[0, :, 0]
    matrix = window_matrix(6, np.array(profile, float), tf.float64)
    np.testing.assert_allclose(tf.linalg.matvec(matrix, line), expected, rtol=1e-12)


def test_matrices_are_applied_along_their_own_axes(mode, rng):
    volume = rng.standard_normal((2, *SIZE))
    # neither symmetric nor of equal sizes, so that one turned or swapped shows
    matrices = [rng.standard_normal((n, n)) for n in SIZE]
    expected = np.einsum("bijk,pi,qj,rk->bpqr", volume, *matrices)
    filtered = mode(lambda x: filter_along_axes(x, [tf.constant(m) for m in matrices]))
    np.testing.assert_allclose(filtered(tf.constant(volume)), expected, atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_singleton_axis_is_left_alone(rng, axis):
    size = [*SIZE]
    size[axis] = 1
    volume = rng.standard_normal((2, *size))
    matrices = [rng.standard_normal((n, n)) for n in size]
    matrices[axis] = np.full((1, 1), np.nan)
    filtered = filter_along_axes(tf.constant(volume), matrices)
    matrices[axis] = np.ones((1, 1))
    expected = np.einsum("bijk,pi,qj,rk->bpqr", volume, *matrices)
    np.testing.assert_allclose(filtered, expected, atol=1e-12)


# ---- TF32 ----


def to_tf32(values):
    """:return: what tensor cores read of float32: 10 bits of the mantissa."""
    bits = np.asarray(values, np.float32).view(np.uint32) & np.uint32(0xFFFFE000)
    return bits.view(np.float32)


def test_numbers_are_split_into_parts_that_tf32_holds(mode, rng):
    """Of every size and sign, and those with all bits set; bit for bit."""
    values = rng.standard_normal(2000) * 10.0 ** rng.integers(-20, 20, 2000)
    values = np.append(values, [0.0, -0.0, 1.0, 1 - 2.0**-24, 2 - 2.0**-23])
    values = values.astype(np.float32)
    parts = [part.numpy() for part in mode(split_tf32)(tf.constant(values))]
    for part in parts:
        np.testing.assert_array_equal(part, to_tf32(part))
    np.testing.assert_array_equal((parts[0] + (parts[1] + parts[2])), values)
    assert np.all(np.abs(parts[1]) <= 2.0**-10 * np.abs(parts[0]))
    assert np.abs(parts[2]).max() > 0


@pytest.mark.parametrize("is_exact", [True, False])
def test_products_of_the_parts_in_tf32_are_that_in_float32(rng, is_exact):
    """By hand, the sums in float64; the product of the whole is off by 1e-4."""
    profile = np.ones(9) if is_exact else rng.uniform(0.1, 1.0, 9)
    matrix = window_matrix(40, profile).numpy()
    values = rng.uniform(0.5, 1.0, (40, 30)).astype(np.float32)
    expected = matrix.astype(float) @ values.astype(float)
    factors = tf32_factors(tf.constant(matrix), tf.constant(values), is_exact)
    assert len(factors) == (3 if is_exact else 6)
    found = sum(to_tf32(a).astype(float) @ to_tf32(b).astype(float) for a, b in factors)
    np.testing.assert_allclose(found, expected, rtol=2e-7)
    plain = to_tf32(matrix).astype(float) @ to_tf32(values).astype(float)
    assert np.abs(plain / expected - 1).max() > 1e-4


@pytest.mark.parametrize("is_exact", [True, False])
def test_the_split_sums_are_the_plain_ones(mode, rng, monkeypatch, is_exact):
    """On a CPU, where nothing is split unless a GPU is made up."""
    volume = tf.constant(rng.random((2, *SIZE)), tf.float32)
    profile = np.ones(3) if is_exact else np.array([0.3, 1.0, 0.7])
    matrices = [window_matrix(n, profile) for n in SIZE]

    def function(x):
        return filter_along_axes(x, matrices, is_precise=True, is_exact=is_exact)

    def operations():
        graph = tf.function(lambda x: function(x)).get_concrete_function(volume).graph
        return {x.type for x in graph.get_operations()}

    plain = filter_along_axes(volume, matrices)
    np.testing.assert_array_equal(mode(function)(volume), plain)
    assert "Bitcast" not in operations() and "AddN" not in operations()
    monkeypatch.setattr(kernel, "multiplies_in_tf32", lambda dtype: True)
    assert "Bitcast" in operations()
    np.testing.assert_allclose(mode(lambda x: function(x))(volume), plain, rtol=1e-6)
    with tf.GradientTape() as tape:
        tape.watch(volume)
        value = function(volume)
    expected = filter_along_axes(plain, [tf.transpose(m) for m in matrices])
    gradient = tape.gradient(value, volume, output_gradients=plain)
    np.testing.assert_allclose(gradient, expected, rtol=1e-5)
