"""Tests of deepreg_meta/layer/planar.py; reference: Keras's layers for volumes."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.layer.planar import (
    PlanarAveragePooling3D,
    PlanarConv3DTranspose,
    PlanarMaxPool3D,
    flat_axis,
)


def image_of(rng, axis, size=(5, 6, 7)):
    shape = [2, *(1 if i == axis else n for i, n in enumerate(size)), 3]
    return tf.constant(rng.normal(size=shape), tf.float32)


def planar(value, axis):
    return tuple(1 if i == axis else value for i in range(3))


def kinds(function, image):
    graph = tf.function(function).get_concrete_function(image).graph
    return {op.type for op in graph.get_operations()}


def test_an_axis_is_flat_where_nothing_is_computed_along_it():
    size = tf.TensorShape([4, 1, 1])
    assert flat_axis(size, (3, 1, 1), (2, 1, 1)) == 2
    assert flat_axis(size, (3, 1, 3), (2, 1, 1)) == 1
    assert flat_axis(size, (3, 1, 1), (2, 2, 2)) is None
    assert flat_axis(tf.TensorShape([4, 5, 6]), (1, 1, 1)) is None


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(
    "options",
    [{}, dict(strides=2), dict(strides=2, output_padding=0), dict(padding="valid")],
)
def test_transposed_convolution_and_its_gradients_are_kerass(rng, axis, options):
    image = image_of(rng, axis)
    sizes = dict(dict(kernel_size=3, padding="same"), **options)
    if "output_padding" in sizes:
        sizes["output_padding"] = tuple(0 for _ in range(3))
    sizes["kernel_size"] = planar(3, axis)
    sizes["strides"] = planar(sizes.get("strides", 1), axis)
    options = dict(filters=4, bias_initializer="ones", activation="elu", **sizes)
    plain = tf.keras.layers.Conv3DTranspose(**options)
    ours = PlanarConv3DTranspose(**options)
    above = tf.constant(rng.normal(size=plain(image).shape), tf.float32)
    ours.build(image.shape)
    ours.set_weights(plain.get_weights())

    def both(one):
        with tf.GradientTape() as tape:
            tape.watch(image)
            value = one(image)
        inputs = [image, *one.trainable_variables]
        return [value, *tape.gradient(value, inputs, output_gradients=above)]

    for found, expected in zip(both(ours), both(plain), strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-5)
    assert not any("3D" in kind for kind in kinds(ours, image))


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    ("plain", "ours"),
    [
        (tf.keras.layers.MaxPool3D, PlanarMaxPool3D),
        (tf.keras.layers.AveragePooling3D, PlanarAveragePooling3D),
    ],
)
def test_maxima_and_means_are_kerass(rng, axis, padding, plain, ours):
    image = image_of(rng, axis)
    options = dict(pool_size=planar(2, axis), strides=planar(2, axis), padding=padding)
    expected, ours = plain(**options)(image), ours(**options)
    np.testing.assert_allclose(ours(image), expected, rtol=0, atol=1e-6)
    assert not any("3D" in kind for kind in kinds(ours, image))


def test_volumes_are_kerass_own(rng):
    volume = image_of(rng, None)
    layer = PlanarConv3DTranspose(2, 3, strides=2, padding="same")
    assert layer(volume).shape == (2, 10, 12, 14, 2)
    assert PlanarMaxPool3D(2)(volume).shape == (2, 2, 3, 3, 3)


def test_the_batch_may_be_unknown(rng):
    image = image_of(rng, 2)
    layer = PlanarConv3DTranspose(2, (3, 3, 1), strides=(2, 2, 1), padding="same")
    expected = layer(image)
    spec = tf.TensorSpec([None, *image.shape[1:]])
    function = tf.function(layer, input_signature=[spec])
    np.testing.assert_allclose(function(image), expected, atol=1e-6)
    assert function.get_concrete_function().output_shapes == [None, 10, 12, 1, 2]
