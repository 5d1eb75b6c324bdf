"""Tests of deepreg_meta/layer/norm.py; reference: Keras's BatchNormalization."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.layer.norm import FlatBatchNormalization, hold_moving_averages

SHAPE = (2, 4, 5, 3, 6)


def pair(rng):
    """:return: Keras's layer and ours, with equal weights that are not the initial."""
    layers = [
        tf.keras.layers.BatchNormalization(),
        FlatBatchNormalization(),
    ]
    for layer in layers:
        layer.build(tf.TensorShape([None, *SHAPE[1:]]))
    values = [rng.uniform(0.5, 2.0, weight.shape) for weight in layers[0].weights]
    for layer in layers:
        layer.set_weights(values)
    return layers


@pytest.mark.parametrize("training", [True, False, None])
def test_output_gradient_and_averages_are_kerass(rng, mode, training):
    inputs = tf.constant(rng.normal(2.0, 3.0, SHAPE), tf.float32)
    above = tf.constant(rng.normal(size=SHAPE), tf.float32)
    results = []
    for layer in pair(rng):

        def run(layer=layer):
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                output = layer(inputs, training=training)
                value = tf.reduce_sum(output * above)
            sources = [inputs, *layer.trainable_variables]
            return [output, *tape.gradient(value, sources)]

        results.append([*mode(run)(), *layer.weights])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_a_frozen_layer_uses_and_keeps_its_moving_averages(rng):
    for layer in pair(rng):
        layer.trainable = False
        before = layer.get_weights()
        inputs = tf.constant(rng.normal(size=SHAPE), tf.float32)
        np.testing.assert_allclose(
            layer(inputs, training=True), layer(inputs, training=False), atol=1e-6
        )
        for a, b in zip(before, layer.get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)


def test_averages_stand_still_while_they_are_held(rng):
    _, layer = pair(rng)
    inputs = tf.constant(rng.normal(size=SHAPE), tf.float32)
    before = layer.get_weights()
    with hold_moving_averages():
        held = layer(inputs, training=True)
    np.testing.assert_array_equal(before[2:], layer.get_weights()[2:])
    free = layer(inputs, training=True)
    np.testing.assert_array_equal(held, free)
    assert np.abs(np.subtract(before[2:], layer.get_weights()[2:])).min() > 1e-4


def test_lower_precision_comes_back_and_weights_are_float32(rng):
    layer = FlatBatchNormalization()
    inputs = tf.constant(rng.normal(2.0, 3.0, SHAPE), tf.bfloat16)
    output = layer(inputs, training=True)
    assert output.dtype == tf.bfloat16
    assert {weight.dtype for weight in layer.weights} == {tf.float32}
    flat = np.reshape(tf.cast(output, tf.float32), [-1, SHAPE[-1]])
    np.testing.assert_allclose(flat.mean(axis=0), 0.0, atol=0.02)
    np.testing.assert_allclose(flat.std(axis=0), 1.0, atol=0.02)
