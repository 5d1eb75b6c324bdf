"""Tests of random affine maps; reference: DeepReg's four corners."""

import numpy as np
import pytest
import tensorflow as tf
from deepreg.model import layer_util

from deepreg_meta.dataset.augmentation import compose_affine, random_affine
from deepreg_meta.layer.warp import apply_affine, reference_grid

SIZE = (5, 6, 7)
CORNERS = np.array([[-1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, -1, -1]])
SEED = (3, 4)


def draw(batch=2, size=SIZE, scale=0.3, seed=SEED):
    return random_affine(tf.constant(seed), batch, size, scale)


def to_voxels(points, size=SIZE):
    """Take points of the cube [-1, 1]^3 to voxels of a grid."""
    half = (np.array(size, np.float32) - 1) / 2
    return tf.constant(half * (points + 1), tf.float32)


def test_scale_zero_is_the_identity(mode):
    matrix, offset = mode(lambda: draw(scale=0.0))()
    np.testing.assert_allclose(matrix, np.stack([np.eye(3)] * 2), atol=1e-6)
    np.testing.assert_allclose(offset, np.zeros((2, 3)), atol=1e-5)


@pytest.mark.parametrize("scale", [0.1, 0.5])
def test_the_corners_are_pulled_to_the_centre_by_factors_in_range(scale):
    matrix, offset = draw(batch=200, scale=scale)
    moved = apply_affine(to_voxels(CORNERS)[None], matrix, offset).numpy()
    half = (np.array(SIZE) - 1) / 2
    factors = (moved / half - 1) / CORNERS
    assert factors.min() >= 1 - scale - 1e-5 and factors.max() <= 1 + 1e-5
    # uniform: the mean of 2400 factors, whose standard error is scale / 170
    assert factors.mean() == pytest.approx(1 - scale / 2, abs=scale / 30)
    assert np.all(np.linalg.det(matrix) > 0)  # no flips


def test_the_map_is_deepregs_for_the_same_noise(monkeypatch):
    noise = tf.random.stateless_uniform([2, 4, 3], tf.constant(SEED), 0.7, 1.0)
    monkeypatch.setattr(np.random, "uniform", lambda *_: noise.numpy())
    theta = layer_util.gen_rand_affine_transform(batch_size=2, scale=0.3)
    grid = reference_grid(SIZE)
    half = (tf.constant(SIZE, tf.float32) - 1.0) / 2.0
    # DeepReg's corners are those of a cube around 0, so the grid is taken there
    expected = half * (layer_util.warp_grid(grid / half - 1.0, theta) + 1.0)
    mapped = apply_affine(grid[None], *draw(scale=0.3))
    np.testing.assert_allclose(mapped, expected, atol=2e-5)
    assert np.max(np.abs(mapped - grid)) > 0.3


def test_every_seed_gives_its_own_map_also_in_a_compiled_graph():
    compiled = tf.function(lambda seed: random_affine(seed, 2, SIZE, 0.3))
    first = compiled(tf.constant([3, 4]))
    for a, b in zip(first, draw(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    assert np.all(first[1] != compiled(tf.constant([3, 5]))[1])
    assert np.all(first[1][0] != first[1][1])  # batch elements differ


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_singleton_axis_stays_and_the_plane_moves(axis):
    size = [n if i != axis else 1 for i, n in enumerate(SIZE)]
    matrix, offset = draw(size=tuple(size))
    grid = reference_grid(tuple(size))[None]
    mapped = apply_affine(grid, matrix, offset).numpy()
    np.testing.assert_allclose(mapped[..., axis], 0.0, atol=1e-6)
    others = [i for i in range(3) if i != axis]
    moves = np.abs(mapped - grid)[..., others].max(axis=(0, 1, 2, 3))
    assert np.all(moves > 0.1) and np.all(moves < 0.35 * np.array(size)[others])


def test_the_plane_does_not_depend_on_the_coordinate_across_it():
    matrix, _ = draw(size=(5, 6, 1))
    np.testing.assert_allclose(matrix[:, :, 2], [[0.0, 0.0, 1.0]] * 2, atol=1e-6)


def test_composition_is_one_map_after_the_other(rng):
    outer, inner = draw(seed=(1, 1)), draw(seed=(2, 2))
    points = tf.constant(rng.uniform(0, 6, (2, 9, 3)), tf.float32)
    once = apply_affine(points, *compose_affine(outer, inner))
    twice = apply_affine(apply_affine(points, *inner), *outer)
    np.testing.assert_allclose(once, twice, atol=1e-5)
    swapped = apply_affine(points, *compose_affine(inner, outer))
    assert np.max(np.abs(once - swapped)) > 0.05
