"""Tests of deepreg_meta/model/pyramid.py."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.layer.rescale import rescale, rescale_field
from deepreg_meta.layer.warp import compose, warp
from deepreg_meta.model.field_network import FieldNetwork
from deepreg_meta.model.pyramid import PyramidNetwork, refine
from tests.helpers import differ, randomize, values

SIZE, COARSE = (12, 8, 8), (6, 4, 4)
BACKBONE = dict(name="unet", num_channel_initial=2, depth=1)


def constant_field(shift, size=SIZE):
    return tf.broadcast_to(tf.constant(shift, tf.float32), (1, *size, 3))


def linear_field(matrix, size=SIZE):
    """Displacements A (x - c) about the centre, so that maps of it stay linear."""
    axes = [np.arange(n) - (n - 1) / 2 for n in size]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    return tf.constant((grid @ np.asarray(matrix).T)[None], tf.float32)


def networks_of(*sizes):
    networks = [FieldNetwork("ddf", BACKBONE, size) for size in sizes]
    for network in networks:
        randomize(network)
    return networks


@pytest.fixture
def images(rng):
    """:return: a moving and a fixed image."""
    return [tf.constant(rng.random((1, *SIZE)), tf.float32) for _ in range(2)]


def test_whole_shifts_warp_once_as_twice(rng):
    """A coarse residual of one voxel along the first axis is two fine voxels."""
    image = tf.constant(rng.random((1, *SIZE)), tf.float32)
    before = constant_field([1.0, -1.0, 0.0])
    residual = constant_field([1.0, 0.0, 0.0], COARSE)
    field = refine(before, residual, SIZE)
    np.testing.assert_allclose(field, constant_field([3.0, -1.0, 0.0]), atol=1e-6)
    twice = warp(warp(image, before), constant_field([2.0, 0.0, 0.0]))
    inner = (slice(None), slice(0, -4), slice(2, None))
    np.testing.assert_allclose(warp(image, field)[inner], twice[inner], atol=1e-6)


def test_a_linear_image_warps_once_as_twice_and_not_in_the_other_order():
    """Stretched along the first axis, then moved along it: the two do not commute."""
    image = tf.broadcast_to(tf.range(12.0)[None, :, None, None], (1, *SIZE))
    stretch = linear_field(np.diag([0.5, 0, 0]))
    shift = constant_field([2.0, 0, 0])
    inner = (slice(None), slice(3, 7))
    twice = warp(warp(image, stretch), shift)[inner]
    once = warp(image, refine(stretch, shift, SIZE))[inner]
    np.testing.assert_allclose(once, twice, atol=1e-5)
    other = warp(image, refine(shift, stretch, SIZE))[inner]
    np.testing.assert_allclose(np.abs(other - twice), 1.0, atol=1e-5)


def test_the_first_field_is_the_residual_alone():
    residual = constant_field([1.0, 2.0, -1.0], COARSE)
    np.testing.assert_allclose(
        refine(None, residual, SIZE), constant_field([2.0, 4.0, -2.0]), atol=1e-6
    )


def test_one_scale_is_its_network(images):
    (network,) = networks_of(SIZE)
    pyramid = PyramidNetwork([network])
    np.testing.assert_array_equal(pyramid(*images), network(*images))
    assert len(pyramid.weights) == len(network.weights)


def test_each_scale_sees_what_the_coarser_ones_have_moved(images):
    coarse, fine = networks_of(COARSE, SIZE)
    moving, fixed = images
    first = coarse(rescale(moving, COARSE), rescale(fixed, COARSE))
    first = rescale_field(first, SIZE)
    second = fine(warp(moving, first), fixed)
    found = PyramidNetwork([coarse, fine])(moving, fixed)
    np.testing.assert_allclose(found, compose(first, second), atol=1e-6)
    assert np.abs(first).max() > 0.01 and np.abs(second).max() > 0.01


def test_the_loss_of_the_finest_field_reaches_all_scales(images):
    pyramid = PyramidNetwork(networks_of(COARSE, SIZE))
    with tf.GradientTape() as tape:
        (field,) = pyramid.fields(*images)
        loss = tf.reduce_mean(field**2)
    gradients = tape.gradient(loss, pyramid.trainable_variables)
    assert all(g is not None for g in gradients)
    for network in pyramid.networks:
        own = tape_norm(gradients, pyramid.trainable_variables, network)
        assert own > 1e-6


def tape_norm(gradients, variables, network):
    own = {variable.ref() for variable in network.trainable_variables}
    pairs = zip(gradients, variables, strict=True)
    return max(float(tf.norm(g)) for g, v in pairs if v.ref() in own)


def test_penalties_of_all_scales_are_summed():
    layer = dict(name="meta_regularized", backbone=BACKBONE, parameterization="penalty")
    networks = [FieldNetwork("ddf", layer, size) for size in (COARSE, SIZE)]
    pyramid = PyramidNetwork(networks)
    single = [float(network.penalty()) for network in networks]
    assert float(pyramid.penalty()) == pytest.approx(sum(single))
    assert single[0] != 0
    assert PyramidNetwork(networks_of(SIZE)).penalty() is None


def test_backbones_with_fields_of_their_own_resolutions_are_refused():
    network = FieldNetwork("ddf", dict(name="fcn_ss", num_channel_initial=2), SIZE)
    with pytest.raises(ValueError, match=r"train\.scales: expected a backbone"):
        PyramidNetwork([network])


def test_weights_are_saved_with_all_scales(tmp_path, images):
    pyramid = PyramidNetwork(networks_of(COARSE, SIZE))
    expected, start = pyramid(*images), values(pyramid.weights)
    path = tf.train.Checkpoint(network=pyramid).save(str(tmp_path / "c"))
    other = PyramidNetwork(networks_of(COARSE, SIZE))
    for network in other.networks:
        for variable in network.weights:
            variable.assign(tf.zeros_like(variable))
    assert differ(start, values(other.weights))
    tf.train.Checkpoint(network=other).restore(path).assert_existing_objects_matched()
    np.testing.assert_array_equal(other(*images), expected)
