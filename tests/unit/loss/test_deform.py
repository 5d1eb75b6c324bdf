"""Tests of the bending energy and the norm of the gradient; reference: DeepReg's."""

import numpy as np
import pytest
import tensorflow as tf
from deepreg.loss.deform import BendingEnergy as DeepRegBendingEnergy
from deepreg.loss.deform import GradientNorm as DeepRegGradientNorm
from deepreg.registry import REGISTRY

from deepreg_meta.layer.warp import reference_grid
from deepreg_meta.loss.deform import BendingEnergy, GradientNorm

WRAPPERS = {
    "eager": lambda function: function,
    "tf.function": tf.function,
    "XLA": tf.function(jit_compile=True),
}
PAIRS = {
    "bending": (BendingEnergy(), DeepRegBendingEnergy()),
    "gradient": (GradientNorm(), DeepRegGradientNorm()),
    "gradient-l1": (GradientNorm(l1=True), DeepRegGradientNorm(l1=True)),
}
LOSSES = [ours for ours, _ in PAIRS.values()]


@pytest.fixture(params=WRAPPERS)
def wrap(request):
    """:return: what makes a graph or a kernel of a function, or leaves it."""
    return WRAPPERS[request.param]


def quadratic_field(size):
    """Return u = (x^2 + 3 y z, 2 x y, 0), whose second derivatives are constant."""
    x, y, z = tf.unstack(reference_grid(size), axis=-1)
    return tf.stack([x * x + 3.0 * y * z, 2.0 * x * y, 0.0 * x], axis=-1)[None]


def value_and_gradient(loss, field):
    """:return: the loss and its gradient by the field."""
    with tf.GradientTape() as tape:
        tape.watch(field)
        value = loss(field)
    return value, tape.gradient(value, field)


@pytest.mark.parametrize("pair", PAIRS.values(), ids=PAIRS)
@pytest.mark.parametrize("size", [(6, 7, 8), (5, 6, 9)])
def test_value_and_gradient_equal_deepregs_on_volumes(wrap, rng, pair, size):
    field = tf.constant(rng.standard_normal((2, *size, 3)), tf.float32)
    ours, theirs = pair
    found = value_and_gradient(wrap(ours), field)
    expected = value_and_gradient(theirs, field)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    scale = np.max(np.abs(expected[1]))
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.parametrize("loss", LOSSES, ids=PAIRS)
@pytest.mark.parametrize("size", [(5, 6, 5), (1, 5, 6), (5, 1, 6), (6, 5, 1)])
def test_the_gradient_is_that_of_differences_in_float64(rng, loss, size):
    """Steps are exact where they meet no kink of a magnitude."""
    field = tf.constant(rng.standard_normal((1, *size, 2)))
    function = tf.function(loss)
    (ours,), (numerical,) = tf.test.compute_gradient(function, [field], delta=1e-6)
    assert np.abs(numerical).max() > 1e-3
    np.testing.assert_allclose(ours, numerical, rtol=1e-5, atol=1e-8)


def test_a_quadratic_field_has_the_energy_worked_out_by_hand(wrap):
    # Central differences are exact on quadratics. First component: f_xx = 2, f_yz = 3,
    # so 2^2 + 2 * 3^2 = 22; second: f_xy = 2, so 2 * 2^2 = 8; the mean over the three
    # components is (22 + 8 + 0) / 3 = 10.
    energy = wrap(BendingEnergy())(quadratic_field((6, 7, 8)))
    assert energy.numpy() == pytest.approx(10.0, rel=1e-5)


def test_a_quadratic_field_has_the_gradient_worked_out_by_hand(wrap):
    # On 3 x 3 x 4 voxels the differences are taken at x = y = 1 and z = 1, 2. First
    # component: f_x = 2 x = 2, f_y = 3 z = 3 or 6, f_z = 3 y = 3; second: 2 y = 2 and
    # 2 x = 2. Squares: 4 + (9 or 36) + 9, on average 35.5, and 4 + 4, over three
    # components; magnitudes: 2 + (3 or 6) + 3, on average 9.5, and 2 + 2.
    field = quadratic_field((3, 3, 4))
    squares = wrap(GradientNorm())(field)
    assert squares.numpy() == pytest.approx((35.5 + 8.0) / 3.0, rel=1e-6)
    magnitudes = wrap(GradientNorm(l1=True))(field)
    assert magnitudes.numpy() == pytest.approx((9.5 + 4.0) / 3.0, rel=1e-6)


def test_a_linear_field_does_not_bend_and_a_constant_one_has_no_gradient():
    matrix = tf.constant([[0.5, 1.0, -2.0], [0.0, 3.0, 1.0], [1.0, 1.0, 1.0]])
    field = tf.linalg.matvec(matrix, reference_grid((5, 6, 7)))[None] + 4.0
    assert BendingEnergy()(field).numpy() == pytest.approx(0.0, abs=1e-9)
    # rows of the matrix: 0.25 + 1 + 4, 9 + 1 and 3, over three components
    assert GradientNorm()(field).numpy() == pytest.approx(18.25 / 3.0, rel=1e-5)
    for loss in (GradientNorm(), GradientNorm(l1=True)):
        value, gradient = value_and_gradient(loss, 0.0 * field + 4.0)
        assert value.numpy() == 0.0
        np.testing.assert_array_equal(gradient, np.zeros_like(field))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flat_field_has_the_energy_of_its_plane(axis):
    size = [6, 7, 8]
    size[axis] = 1
    grid = reference_grid(tuple(size))
    a, b = (grid[..., i] for i in range(3) if i != axis)
    field = tf.stack([a * a + 3.0 * a * b, 0.0 * a, 0.0 * a], axis=-1)[None]
    # f_aa = 2, f_ab = 3: (2^2 + 2 * 3^2) / 3 components
    assert BendingEnergy()(field).numpy() == pytest.approx(22.0 / 3.0, rel=1e-5)
    # 2 a - 3 b has the gradient (2, -3)
    field = tf.stack([2.0 * a - 3.0 * b, 0.0 * a, 0.0 * a], axis=-1)[None]
    assert GradientNorm()(field).numpy() == pytest.approx(13.0 / 3.0, rel=1e-5)
    assert GradientNorm(l1=True)(field).numpy() == pytest.approx(5.0 / 3.0, rel=1e-5)


@pytest.mark.parametrize("loss", LOSSES, ids=PAIRS)
def test_it_is_a_mean_over_the_batch(rng, loss):
    """Also in one graph for batches of any size."""
    field = tf.constant(rng.standard_normal((3, 5, 6, 7, 3)), tf.float32)
    function = tf.function(loss, input_signature=[tf.TensorSpec([None, 5, 6, 7, 3])])
    alone = [value_and_gradient(function, field[i : i + 1]) for i in range(3)]
    together = value_and_gradient(function, field)
    np.testing.assert_allclose(together[0], np.mean([x for x, _ in alone]), rtol=1e-5)
    np.testing.assert_allclose(together[1][1:2], alone[1][1] / 3, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize(
    ("loss", "least", "size"),
    [
        (BendingEnergy(), 5, (4, 6, 7)),
        (BendingEnergy(), 5, (6, 7, 3)),
        (GradientNorm(), 3, (6, 2, 7)),
        (GradientNorm(), 3, (1, 1, 1)),
    ],
)
def test_a_grid_that_is_too_small_is_refused_with_its_shape(loss, least, size):
    with pytest.raises(
        ValueError, match=rf"at least {least} voxels .*\(1, {size[0]}, "
    ):
        loss(tf.zeros([1, *size, 3]))


@pytest.mark.parametrize(
    "config",
    [
        dict(name="bending_energy"),
        dict(name="gradient_norm", l1=False),
        dict(name="gradient_norm", l1=True),
    ],
)
def test_the_registry_builds_them_and_their_configurations_come_back(config):
    loss = REGISTRY.build_loss(config=dict(config))
    assert isinstance(loss, (BendingEnergy, GradientNorm))
    again = type(loss)(**loss.get_config())
    assert again.get_config() == loss.get_config() == config


def test_magnitudes_are_asked_for_by_true_alone():
    with pytest.raises(ValueError, match="l1: expected true or false, got 3"):
        GradientNorm(l1=3)
