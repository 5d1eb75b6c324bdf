"""Tests of the bending energy; reference: DeepReg's."""

import numpy as np
import pytest
import tensorflow as tf
from deepreg.loss.deform import BendingEnergy as DeepRegBendingEnergy
from deepreg.registry import REGISTRY

from deepreg_meta.layer.warp import reference_grid
from deepreg_meta.loss.deform import BendingEnergy


def quadratic_field(size):
    """Return u = (x^2 + 3 y z, 2 x y, 0), whose second derivatives are constant."""
    x, y, z = tf.unstack(reference_grid(size), axis=-1)
    return tf.stack([x * x + 3.0 * y * z, 2.0 * x * y, 0.0 * x], axis=-1)[None]


def test_a_quadratic_field_has_the_energy_worked_out_by_hand(mode):
    # Central differences are exact on quadratics. First component: f_xx = 2, f_yz = 3,
    # so 2^2 + 2 * 3^2 = 22; second: f_xy = 2, so 2 * 2^2 = 8; the mean over the three
    # components is (22 + 8 + 0) / 3 = 10.
    energy = mode(BendingEnergy())(quadratic_field((6, 7, 8)))
    assert energy.numpy() == pytest.approx(10.0, rel=1e-5)


def test_value_and_gradient_equal_deepregs_on_volumes(mode, rng):
    field = tf.constant(rng.standard_normal((2, 6, 7, 8, 3)), tf.float32)

    def value_and_gradient(loss):
        with tf.GradientTape() as tape:
            tape.watch(field)
            value = loss(field)
        return value, tape.gradient(value, field)

    ours = mode(lambda: value_and_gradient(BendingEnergy()))()
    theirs = value_and_gradient(DeepRegBendingEnergy())
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5)
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-5, atol=1e-7)


def test_a_linear_field_has_none():
    matrix = tf.constant([[0.5, 1.0, -2.0], [0.0, 3.0, 1.0], [1.0, 1.0, 1.0]])
    field = tf.linalg.matvec(matrix, reference_grid((5, 6, 7)))[None] + 4.0
    assert BendingEnergy()(field).numpy() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flat_field_has_the_energy_of_its_plane(axis):
    size = [6, 7, 8]
    size[axis] = 1
    grid = reference_grid(tuple(size))
    a, b = (grid[..., i] for i in range(3) if i != axis)
    field = tf.stack([a * a + 3.0 * a * b, 0.0 * a, 0.0 * a], axis=-1)[None]
    # f_aa = 2, f_ab = 3: (2^2 + 2 * 3^2) / 3 components
    assert BendingEnergy()(field).numpy() == pytest.approx(22.0 / 3.0, rel=1e-5)


def test_the_energy_is_a_mean_over_the_batch():
    field = quadratic_field((5, 6, 7))
    batch = tf.concat([field, 2.0 * field], axis=0)  # 10 and 4 * 10
    assert BendingEnergy()(batch).numpy() == pytest.approx(25.0, rel=1e-5)


@pytest.mark.parametrize("size", [(4, 6, 7), (6, 7, 3), (1, 1, 1)])
def test_a_grid_that_is_too_small_is_refused_with_its_shape(size):
    with pytest.raises(ValueError, match=rf"at least 5 voxels .*\(1, {size[0]}, "):
        BendingEnergy()(tf.zeros([1, *size, 3]))


def test_the_registry_builds_it_and_its_configuration_comes_back():
    loss = REGISTRY.build_loss(config=dict(name="bending_energy"))
    assert isinstance(loss, BendingEnergy)
    again = BendingEnergy(**loss.get_config())
    assert again.get_config() == loss.get_config() == dict(name="bending_energy")
