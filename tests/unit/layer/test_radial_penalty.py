"""Tests of deepreg_meta/layer/radial_penalty.py."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.layer.radial_penalty import (
    diagonal_sums,
    penalty_parts,
    symmetry_deviation,
)


def signed_permutations(num_axes):
    """:return: all symmetries of a square (8) or a cube (48), as functions."""
    axes = range(num_axes)
    flips = [f for k in range(num_axes + 1) for f in itertools.combinations(axes, k)]
    return [
        lambda x, order=order, flip=flip: np.flip(np.transpose(x, order), flip)
        for order in itertools.permutations(axes)
        for flip in flips
    ]


def deviation(kernel):
    return float(symmetry_deviation(tf.constant(kernel, tf.float64)))


# ---- 2-D ----


def test_the_symmetry_part_is_equation_12_word_for_word(rng):
    kernel, j = rng.normal(size=(5, 5)), np.eye(5)[::-1]
    expected = np.sum((kernel - kernel.T) ** 2)
    expected += np.sum((kernel @ j - j @ kernel) ** 2)
    assert expected > 10
    assert deviation(kernel) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("kernel", "expected"),
    [
        # the tap, its mirror image in K^T, and that in J K J: 1 + 1 + 1 + 1
        ([[0, 1, 0], [0, 0, 0], [0, 0, 0]], 4.0),
        # on the main diagonal only the half turn moves it
        ([[2, 0, 0], [0, 0, 0], [0, 0, 0]], 8.0),
        # odd about the main diagonal, but turned by a half it is the same: |2 K|^2
        ([[0, 1, 0], [-1, 0, -1], [0, 1, 0]], 16.0),
        ([[1, 2, 3], [4, 5, 6], [7, 8, 9]], 2 * (4 + 16 + 4) + 2 * (64 + 36 + 16 + 4)),
    ],
)
def test_the_symmetry_part_of_asymmetric_kernels_by_hand(kernel, expected):
    assert deviation(kernel) == expected


def test_the_symmetry_part_is_zero_for_symmetry_about_both_diagonals(rng):
    """And for nothing else: each of the two alone is not enough."""
    kernel = rng.normal(size=(7, 7))
    about_main = (kernel + kernel.T) / 2
    about_both = (about_main + about_main.T[::-1, ::-1]) / 2
    np.testing.assert_allclose(about_both, about_both[::-1, ::-1].T, atol=1e-15)
    assert deviation(about_both) < 1e-25
    assert deviation(about_main) > 1
    about_anti = (kernel + kernel[::-1, ::-1].T) / 2
    assert deviation(about_anti) > 1


def test_it_says_nothing_of_flips_and_quarter_turns():
    kernel = np.array([[1.0, 0, 2], [0, 3, 0], [2, 0, 1]])
    assert deviation(kernel) == 0
    assert not np.array_equal(kernel, kernel[::-1])
    assert not np.array_equal(kernel, np.rot90(kernel))


def test_the_traces_are_those_of_k_and_jk(rng):
    """By hand 1 + 5 + 3 and 0 + 5 + 7: the middle counts in both."""
    kernel = tf.constant([[1.0, 2, 0], [4, 5, 6], [7, 8, 3]])
    np.testing.assert_array_equal(diagonal_sums(kernel), [9, 12])
    kernel, j = rng.normal(size=(5, 5)), np.eye(5)[::-1]
    found = diagonal_sums(tf.constant(kernel))
    expected = [np.trace(kernel), np.trace(j @ kernel)]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


# ---- 3-D ----


def test_the_symmetry_part_of_one_tap_of_a_cube_by_hand():
    """
    A tap beside the middle along axis 0. Of three transpositions two move it, of three
    half turns two, and so does the reversal of all axes: 5 images, 2 squares of each.
    """
    kernel = np.zeros([3, 3, 3])
    kernel[0, 1, 1] = 1.0
    assert deviation(kernel) == 10.0


def test_the_symmetry_part_of_a_cube_is_zero_for_its_48_symmetries(rng):
    """It is their mean that all of them leave alone."""
    kernel = rng.normal(size=(5, 5, 5))
    images = [turn(kernel) for turn in signed_permutations(3)]
    assert len(images) == 48
    mean = np.mean(images, axis=0)
    assert deviation(kernel) > 100 and np.abs(mean).max() > 0.1
    assert deviation(mean) < 1e-25


def test_each_of_the_48_symmetries_is_asked_for(rng):
    """Zero only where none of them changes anything: the weakest is still seen."""
    odd = np.einsum("i,j,k->ijk", *[np.array([-1.0, 0, 1])] * 3)  # xyz
    # transpositions and half turns leave it, the reversal does not: |2 K|^2 = 4 * 8
    assert deviation(odd) == 32.0
    kernel = rng.normal(size=(3, 3, 3))
    for axis in range(3):  # even along one axis and the reversal: not yet a cube
        even = (kernel + np.flip(kernel, axis)) / 2
        even = (even + np.flip(even, (0, 1, 2))) / 2
        assert deviation(even) > 0.1


def test_the_traces_of_a_cube_are_those_of_its_four_space_diagonals():
    kernel = np.zeros([3, 3, 3])
    kernel[0, 0, 0], kernel[0, 0, 2], kernel[0, 2, 0], kernel[0, 2, 2] = 1, 2, 4, 8
    kernel[2, 0, 0] += 16  # at the other end of that of 8
    kernel[1, 1, 1] = 100  # on each of them
    kernel[0, 1, 1] = kernel[0, 0, 1] = 1000  # on none
    found = diagonal_sums(tf.constant(kernel)).numpy()
    assert found[0] == 101
    assert sorted(found) == [101, 102, 104, 124]


# ---- both ----


def test_the_parts_are_deviation_traces_and_magnitudes():
    """The l1 norm is of the main diagonal: |-1| + |2| + |-4|."""
    kernel = np.diag([-1.0, 2, -4])
    kernel[0, 2] = 3.0
    parts = penalty_parts(tf.constant(kernel))
    assert float(parts.symmetry) == 2 * 9 + 2 * 9 + 2 * 9
    assert float(parts.trace) == (-3) + (3 + 2)
    assert float(parts.diagonal_l1) == 7
    cube = np.zeros([3, 3, 3])
    cube[(0, 1, 2), (0, 1, 2), (0, 1, 2)] = -1.0, 2.0, -4.0
    cube[0, 0, 2] = 9.0
    assert float(penalty_parts(tf.constant(cube)).diagonal_l1) == 7


@pytest.mark.parametrize("num_axes", [2, 3])
def test_gradients_are_those_of_differences(mode, rng, num_axes):
    kernel = tf.constant(rng.normal(size=[5] * num_axes))
    function = mode(lambda k: tf.stack(penalty_parts(k)))
    (ours,), (numerical,) = tf.test.compute_gradient(function, [kernel], delta=1e-6)
    np.testing.assert_allclose(ours, numerical, rtol=0, atol=1e-6)
    assert (np.abs(ours).max(axis=1) >= 1.0).all()
