"""Tests of deepreg_meta/model/pyramid.py."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.layer.rescale import rescale, rescale_field
from deepreg_meta.layer.warp import compose, warp
from deepreg_meta.model.field_network import FieldNetwork
from deepreg_meta.model.inner_loop import SIDES, InnerLoop
from deepreg_meta.model.pyramid import PyramidNetwork, refine
from deepreg_meta.model.registration import Batch, RegistrationLoss
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


def random_batch(rng):
    """:return: a pair of random images and labels, half a voxel apart."""
    images = [tf.constant(rng.random((1, *SIZE)), tf.float32) for _ in range(5)]
    return Batch(
        moving_input=images[0],
        fixed_input=images[1],
        matrix=tf.eye(3)[None],
        offset=tf.constant([[0.5, 0.0, 0.0]]),
        moving_image=images[2],
        moving_label=images[3],
        loss_mask=None,
        label_target=images[4],
    )


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


def test_each_field_reaches_the_network_of_its_scale_alone(images):
    pyramid = PyramidNetwork(networks_of(COARSE, SIZE))
    with tf.GradientTape(persistent=True) as tape:
        fields = pyramid.fields(*images)
        losses = [tf.reduce_mean(field**2) for field in fields]
    np.testing.assert_allclose(fields[0], pyramid(*images, training=True), atol=1e-5)
    assert [x.shape for x in fields] == [(1, *SIZE, 3)] * 2
    assert differ([fields[0].numpy()], [fields[1].numpy()])
    for loss, own, other in zip(losses, (1, 0), (0, 1), strict=True):
        own, other = pyramid.networks[own], pyramid.networks[other]
        for gradient in tape.gradient(loss, own.trainable_variables):
            assert gradient is not None
        assert set(tape.gradient(loss, other.trainable_variables)) == {None}


@pytest.mark.parametrize("labeled", [False, True])
def test_the_loss_of_every_scale_is_that_of_its_field(rng, labeled):
    """Of images, labels and fields, on the full grid; they are added."""
    loss = RegistrationLoss(
        dict(
            image=dict(name="local_ncc", kernel_size=3),
            label=dict(name="dice", weight=0.5),
            regularization=dict(name="bending", weight=0.1),
        ),
        labeled,
        [SIDES],
    )
    pyramid = PyramidNetwork(networks_of((6, 5, 5), COARSE, SIZE))
    batch = random_batch(rng)
    target = loss.prepare_label(batch.label_target, None, tf.ones([3]))
    batch = batch._replace(label_target=target)
    fine, *coarser = pyramid.fields(batch.moving_input, batch.fixed_input)
    single = [float(loss.compute(x, batch)["total"]) for x in (fine, *coarser)]
    assert len(set(single)) == 3
    found = float(pyramid.side_loss(loss)(coarser, batch))
    assert found == pytest.approx(sum(single[1:]), rel=1e-5)
    parts, _ = InnerLoop(pyramid, loss, tf.keras.optimizers.SGD(0.0)).step(batch)
    assert float(parts[SIDES]) == pytest.approx(found, rel=1e-5)
    assert float(parts["total"]) == pytest.approx(sum(single), rel=1e-5)
    assert PyramidNetwork(networks_of(SIZE)).side_loss(loss) is None


def test_a_step_of_a_scale_is_that_of_its_network_alone(rng):
    """Given what the coarser one finds before the step."""
    loss = RegistrationLoss(dict(image=dict(name="ssd")), labeled=False)
    pyramid = PyramidNetwork(networks_of(COARSE, SIZE))
    coarse, fine = pyramid.networks
    batch = random_batch(rng)
    images = rescale(batch.moving_input, COARSE), rescale(batch.fixed_input, COARSE)
    before = rescale_field(coarse(*images, training=True), SIZE)
    with tf.GradientTape(persistent=True) as tape:
        first = rescale_field(coarse(*images, training=True), SIZE)
        moved = warp(batch.moving_input, before)
        second = compose(before, fine(moved, batch.fixed_input, training=True))
        losses = [loss.compute(x, batch)["total"] for x in (first, second)]
    expected = [
        g.numpy()
        for value, network in zip(losses, (coarse, fine), strict=True)
        for g in tape.gradient(value, network.trainable_variables)
    ]
    loop = InnerLoop(pyramid, loss, tf.keras.optimizers.SGD(1.0))
    found = loop.gradients(batch)
    order = {v.ref(): g for v, g in zip(loop.part.variables, found, strict=True)}
    own = [v for n in (coarse, fine) for v in n.trainable_variables]
    for variable, gradient in zip(own, expected, strict=True):
        scale = np.abs(gradient).max()
        assert scale > 0
        np.testing.assert_allclose(
            order[variable.ref()], gradient, rtol=1e-3, atol=1e-4 * scale
        )


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
