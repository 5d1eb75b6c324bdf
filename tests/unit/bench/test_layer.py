"""Tests of bench/layer.py."""

import numpy as np
import pytest
import tensorflow as tf

from tests.helpers import randomize

IMAGE, VOLUME = (8, 10, 1), (8, 8, 6)


@pytest.fixture
def layer(load):
    """:return: the module, in which nothing is compiled by XLA."""
    module = load("layer")
    with load("models").plain_graphs():
        yield module


@pytest.fixture
def job_of(layer):
    """:return: gives a small network on a grid."""
    return lambda size: layer.Job("unet_transposed", 2, 1, size, repeats=1)


def test_networks_differ_by_their_kernel_alone(layer, job_of):
    """Otherwise their times could not be compared."""
    job = job_of(IMAGE)
    bare = [v.numpy() for v in layer.network_of(job, layer.WITHOUT).trainable_variables]
    for form in job.forms:
        network = layer.network_of(job, form)
        (kernel,) = network.backbone.radial_conv.trainable_variables
        others = [v for v in network.trainable_variables if v is not kernel]
        assert len(others) == len(bare)
        for found, expected in zip(others, bare, strict=True):
            np.testing.assert_array_equal(found, expected)
        assert network.backbone.radial_conv.parameterization == form


def test_volumes_have_every_form_but_that_of_a_matrix(job_of):
    assert job_of(IMAGE).forms == ("separable", "penalty", "cholesky", "radial")
    assert job_of(VOLUME).forms == ("separable", "penalty", "radial")


def test_a_training_step_is_the_gradient_of_every_weight(layer, job_of, rng):
    """That of field and penalty together; of a loss of the field alone, the first."""
    network = layer.network_of(job_of(IMAGE), "penalty")
    randomize(network)
    kernel = network.backbone.radial_conv.kernel_weights
    moving, fixed = tf.constant(rng.random((2, 1, *IMAGE)), tf.float32)
    upstream = tf.constant(rng.normal(size=(1, *IMAGE, 3)), tf.float32)
    found = layer.gradients_of(network, moving, fixed, upstream)
    weights = network.trainable_variables
    assert [g.shape for g in found] == [v.shape for v in weights]
    with tf.GradientTape(persistent=True) as tape:
        loss = tf.reduce_sum(network(moving, fixed, training=True) * upstream)
        penalty = network.penalty()
    for gradient, weight in zip(found, weights, strict=True):
        expected = tape.gradient(loss, weight)
        if weight is kernel:
            own = tape.gradient(penalty, weight)
            assert np.abs(own).max() > 0.1
            expected += own
        assert np.abs(expected).max() > 0
        np.testing.assert_allclose(gradient, expected, rtol=1e-4, atol=1e-4)


def test_prediction_and_training_step_are_timed_in_rounds(layer, job_of):
    job = job_of(VOLUME)._replace(repeats=3)
    found = layer.measure(list(job))
    assert list(found) == ["prediction", "training step"]
    for seconds in found.values():
        assert list(seconds) == [layer.WITHOUT, "separable", "penalty", "radial"]
        assert all(len(values) == 3 and min(values) > 0 for values in seconds.values())


def test_the_networks_that_are_timed(layer):
    """Those whose cost with the layer is stated: images, a wider network, a volume."""
    jobs = layer.jobs(quick=False)
    assert [(job.network, job.grid) for job in jobs] == [
        ("`unet_transposed`, 16 channels", "64 x 64 x 1"),
        ("`unet_transposed`, 16 channels", "128 x 128 x 1"),
        ("`unet_transposed`, 16 channels", "256 x 256 x 1"),
        ("`unet_transposed`, 32 channels", "128 x 128 x 1"),
        ("`unet`, 8 channels", "64 x 64 x 64"),
    ]
