"""Tests of deepreg_meta/layer/radial_kernel.py."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.layer.radial_kernel import (
    PARAMETERIZATIONS,
    dense_kernel,
    gaussian_profile,
    initial_weights,
    ring_indices,
)

CASES = [(p, n) for p in PARAMETERIZATIONS for n in (2, 3) if (p, n) != ("cholesky", 3)]


def outer(profile, num_axes):
    """:return: the product of a profile along each axis."""
    letters = "ijk"[:num_axes]
    return np.einsum(f"{','.join(letters)}->{letters}", *[profile] * num_axes)


def test_the_profile_is_a_gaussian_of_sum_one():
    """Two voxels from the middle, a ratio of exp(-2^2 / (2 0.8^2)) = exp(-3.125)."""
    profile = gaussian_profile(7, 0.8)
    assert profile.sum() == pytest.approx(1.0, abs=1e-12)
    assert profile[5] / profile[3] == pytest.approx(np.exp(-3.125), rel=1e-12)
    np.testing.assert_array_equal(profile, profile[::-1])
    np.testing.assert_array_equal(gaussian_profile(5, 0.0), [0, 0, 1, 0, 0])


def test_rings_are_numbered_outwards_by_their_distance():
    """In a square of 5: squared distances 0, 1, 2, 4, 5 and 8."""
    expected = [
        [5, 4, 3, 4, 5],
        [4, 2, 1, 2, 4],
        [3, 1, 0, 1, 3],
        [4, 2, 1, 2, 4],
        [5, 4, 3, 4, 5],
    ]
    np.testing.assert_array_equal(ring_indices(5, 2), expected)


def test_taps_of_equal_distance_by_other_offsets_share_a_ring():
    """3^2 + 4^2 = 5^2, and 1 + 2^2 + 2^2 = 3^2."""
    square, cube = ring_indices(13, 2), ring_indices(7, 3)
    assert square[6 + 3, 6 - 4] == square[6, 6 + 5] != square[6 + 4, 6 + 4]
    assert cube[3 + 1, 3 - 2, 3 + 2] == cube[3, 3, 3 - 3]


@pytest.mark.parametrize(
    ("parameterization", "size", "num_axes", "number"),
    [
        ("penalty", 13, 2, 169),
        ("cholesky", 13, 2, 91),  # 13 * 14 / 2
        ("separable", 13, 2, 7),
        # 28 pairs 0 <= i <= j <= 6, of which (0, 5) and (3, 4) are one ring
        ("radial", 13, 2, 27),
        ("penalty", 7, 3, 343),
        ("separable", 7, 3, 4),
        # 20 triples 0 <= i <= j <= k <= 3, of which (1, 2, 2) and (0, 0, 3) are one
        ("radial", 7, 3, 19),
    ],
)
def test_the_number_of_free_weights(parameterization, size, num_axes, number):
    assert initial_weights(parameterization, size, num_axes, 0.4).size == number


@pytest.mark.parametrize(("parameterization", "num_axes"), CASES)
@pytest.mark.parametrize("sigma", [0.0, 0.4, 1.5])
def test_all_start_as_one_gaussian(parameterization, num_axes, sigma):
    """That of U U^T with a thousandth more on the diagonal, scaled to a sum of 1."""
    weights = tf.constant(initial_weights(parameterization, 7, num_axes, sigma))
    expected = outer(gaussian_profile(7, sigma), num_axes)
    if parameterization == "cholesky":
        expected = (expected + 1e-3 * np.eye(7)) / 1.007
    found = dense_kernel(parameterization, weights, 7, num_axes)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_the_gram_matrix_is_that_of_a_triangle_with_its_diagonal_made_positive():
    """U = [[1, 2, 3], [0, 4, 5], [0, 0, 6]], multiplied out by hand."""
    weights = tf.constant([1.0, 2.0, 3.0, -4.0, 5.0, -6.0])
    expected = [[14, 23, 18], [23, 41, 30], [18, 30, 36]]
    np.testing.assert_array_equal(dense_kernel("cholesky", weights, 3, 2), expected)


def test_the_gram_matrix_has_no_negative_eigenvalue(rng):
    """Whatever the weights are, zeros on the diagonal of U among them."""
    for _ in range(20):
        weights = rng.normal(0.0, 1.0, 91) * rng.choice([0.0, 1.0], 91)
        kernel = dense_kernel("cholesky", tf.constant(weights), 13, 2).numpy()
        np.testing.assert_allclose(kernel, kernel.T, rtol=0, atol=1e-12)
        values = np.linalg.eigvalsh(kernel)
        assert values.min() > -1e-12 * values.max() and values.max() > 1.0


def test_every_weight_of_the_gram_matrix_has_a_gradient_at_the_start(rng):
    """Without the ridge, none has but those of one column."""
    weights = tf.constant(initial_weights("cholesky", 13, 2, 0.0))
    above = tf.constant(rng.normal(size=(13, 13)))
    with tf.GradientTape() as tape:
        tape.watch(weights)
        value = tf.reduce_sum(above * dense_kernel("cholesky", weights, 13, 2))
    assert np.abs(tape.gradient(value, weights)).min() > 1e-5


@pytest.mark.parametrize("num_axes", [2, 3])
def test_a_separable_kernel_has_every_derived_property(rng, num_axes):
    """Symmetric, rank 1, positive semi-definite, tr K = |p|^2; 3-D plane by plane."""
    half = rng.normal(size=4)
    profile = np.concatenate([half[:0:-1], half])
    kernel = dense_kernel("separable", tf.constant(half), 7, num_axes).numpy()
    np.testing.assert_allclose(kernel, outer(profile, num_axes), rtol=0, atol=1e-12)
    matrix = kernel if num_axes == 2 else kernel[3] / profile[3]
    assert np.linalg.matrix_rank(matrix) == 1
    assert np.linalg.eigvalsh(matrix).min() > -1e-12
    assert np.trace(matrix) == pytest.approx(np.sum(profile**2), rel=1e-12)


@pytest.mark.parametrize("num_axes", [2, 3])
def test_the_gradient_of_a_ring_is_the_sum_over_it(rng, num_axes):
    rings = ring_indices(7, num_axes)
    weights = tf.constant(rng.normal(size=rings.max() + 1))
    above = rng.normal(size=rings.shape)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        kernel = dense_kernel("radial", weights, 7, num_axes)
        value = tf.reduce_sum(above * kernel)
    expected = [above[rings == ring].sum() for ring in range(rings.max() + 1)]
    found = tape.gradient(value, weights)
    assert isinstance(found, tf.Tensor)  # no list of slices, as of embeddings
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    for ring in range(rings.max() + 1):
        assert len(np.unique(kernel.numpy()[rings == ring])) == 1


@pytest.mark.parametrize(("parameterization", "num_axes"), CASES)
def test_gradients_are_those_of_differences(rng, parameterization, num_axes):
    start = initial_weights(parameterization, 5, num_axes, 1.0)
    weights = tf.constant(start + rng.normal(0.0, 0.3, start.shape))
    ours, numerical = tf.test.compute_gradient(
        lambda w: dense_kernel(parameterization, w, 5, num_axes) ** 2,
        [weights],
        delta=1e-6,
    )
    np.testing.assert_allclose(ours, numerical, rtol=0, atol=1e-8)
    assert np.abs(ours).max() > 0.01
