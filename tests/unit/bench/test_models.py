"""Tests of bench/models.py."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import randomize


@pytest.fixture
def models(load):
    """:return: the module, in which nothing is compiled by XLA."""
    module = load("models")
    with module.plain_graphs():
        yield module


def test_a_setting_survives_json(models):
    setting = models.TINY._replace(backbone=models.UNET, channels=3)
    assert models.read_setting(json.loads(json.dumps(setting))) == setting


@pytest.mark.parametrize("backbone", ["local", "unet"])
def test_both_networks_have_the_same_weights_and_losses(models, backbone):
    """Otherwise the steps could not be compared."""
    setting = models.TINY._replace(backbone=backbone)
    ours, deepreg = models.build_model(setting), models.build_deepreg(setting)
    shapes = [
        sorted(tuple(variable.shape) for variable in network.trainable_variables)
        for network in (ours.network, deepreg)
    ]
    assert shapes[0] == shapes[1]
    wanted = dict(label=1.0, regularization=0.5)
    assert ours.loss_fn.weights == wanted
    config = deepreg.config["loss"]
    assert {name: part["weight"] for name, part in config.items()} == wanted
    assert config["label"]["scales"] == [0, 1, 2]


def test_the_network_of_deepreg_is_what_its_model_runs(models, rng):
    """A moving image on the fixed grid is not resized, so both see the same."""
    setting = models.TINY._replace(moving=models.TINY.fixed)
    model = models.build_deepreg(setting)
    randomize(model)  # its last layers start at zero
    shape = 2, 1, *setting.fixed
    moving, fixed = tf.constant(rng.random(shape), tf.float32)
    label = tf.zeros_like(fixed)
    inputs = dict(moving_image=moving, fixed_image=fixed, moving_label=label,
                  fixed_label=label, indices=tf.zeros((1, 2)))  # fmt: skip
    expected = model(inputs)["ddf"]
    assert np.abs(expected).max() > 1e-4
    found = models.deepreg_network(model)(moving, fixed, training=False)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_floor_is_the_gradient_of_every_weight(models):
    network = models.build_model(models.TINY).network
    randomize(network)
    variables = network.trainable_variables
    found = models.forward_and_backward(network, variables, models.TINY)()
    assert [g.shape for g in found] == [v.shape for v in variables]
    assert sum(float(tf.reduce_max(tf.abs(g))) > 0 for g in found) == len(found)


def test_an_inner_step_moves_the_weights_and_draws_anew(models):
    model = models.build_model(models.TINY, augmented=True)
    step = models.inner_step(model, models.TINY)
    variables = model.network.trainable_variables
    before = [variable.numpy() for variable in variables]
    losses = [float(step()) for _ in range(2)]
    assert losses[0] != losses[1]
    # two steps of Adam move a weight by at most twice its rate
    moved = max(np.abs(v - b).max() for v, b in zip(variables, before, strict=True))
    assert 9e-4 <= moved <= 2.1e-3
    draw = models.draw(model, models.TINY)
    first, again, other = (draw(tf.constant([0, n])).fixed_input for n in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.1


def test_labels_are_ellipsoids_that_shrink(models):
    """The first one has semi-axes of 0.35 of the sides, the next one 0.9 of them."""
    setting = models.SMALL
    task = models.random_tasks(setting, num_labels=2, num_tasks=3)
    labels = task["fixed_labels"].numpy()
    assert labels.shape == (3, 2, *setting.fixed)
    volume = 4 / 3 * np.pi * 0.35**3 * np.prod(setting.fixed)
    sums = labels[1].sum(axis=(1, 2, 3))
    np.testing.assert_allclose(sums, [volume, volume * 0.9**3], rtol=0.02)
    np.testing.assert_array_equal(labels[0], labels[2])


def test_touching_gives_one_element_of_each_tensor(models):
    found = models.touch({"a": tf.constant([[3.0, 4.0]]), "b": (None, tf.constant(5))})
    assert [value.numpy().tolist() for value in found] == [[3.0], [5]]
