"""Tests of deepreg_meta/loss/kernel.py; references: DeepReg's kernel and SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from deepreg.loss.label import gaussian_kernel1d
from scipy import ndimage

from deepreg_meta.loss.kernel import filter_along_axes, gaussian_matrix, window_matrix

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
