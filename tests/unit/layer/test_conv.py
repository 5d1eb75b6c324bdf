"""Tests of deepreg_meta/layer/conv.py; reference: TensorFlow's own convolution."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.layer.conv import PackedConv3D, choose_pack, packed_conv3d

CASES = [
    (size, pack, length, batch)
    for size, pack in [(3, 2), (5, 2), (7, 2), (7, 3), (5, 4), (7, 4), (1, 2)]
    for length, batch in [(7, 1), (8, 2), (9, 1)]
]


def volumes(rng, size, length, batch=1, channels=(2, 3), dtype=tf.float64):
    """:return: inputs and kernel, with another size along each axis."""
    inputs = rng.normal(size=(batch, 4, 5, length, channels[0]))
    kernel = rng.normal(size=(3, 1, size, *channels))
    return tf.constant(inputs, dtype), tf.constant(kernel, dtype)


def plain(inputs, kernel):
    return tf.nn.conv3d(inputs, kernel, [1] * 5, "SAME")


@pytest.mark.parametrize(("size", "pack", "length", "batch"), CASES)
def test_packing_computes_the_same_convolution(rng, size, pack, length, batch):
    inputs, kernel = volumes(rng, size, length, batch)
    found = packed_conv3d(inputs, kernel, pack)
    assert found.shape == plain(inputs, kernel).shape
    np.testing.assert_allclose(found, plain(inputs, kernel), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("size", "pack", "length", "batch"), CASES)
def test_packing_has_the_same_gradients(rng, size, pack, length, batch):
    operands = volumes(rng, size, length, batch)
    above = tf.constant(rng.normal(size=plain(*operands).shape))

    def gradients(convolve):
        with tf.GradientTape() as tape:
            tape.watch(operands)
            value = tf.reduce_sum(convolve(*operands) * above)
        return tape.gradient(value, operands)

    found = gradients(lambda x, w: packed_conv3d(x, w, pack))
    for a, b in zip(found, gradients(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-11)


def test_the_batch_may_be_unknown_when_traced(rng):
    inputs, kernel = volumes(rng, 7, 9, batch=3)
    spec = tf.TensorSpec([None, *inputs.shape[1:]], tf.float64)
    function = tf.function(
        lambda x: packed_conv3d(x, kernel, 2), input_signature=[spec]
    )
    np.testing.assert_allclose(function(inputs), plain(inputs, kernel), atol=1e-12)


@pytest.mark.parametrize(
    ("kernel_shape", "length", "expected"),
    [
        ((7, 7, 7, 2, 8), 41, 2),
        ((7, 7, 7, 4, 4), 41, 4),
        ((7, 7, 7, 16, 16), 41, 1),  # no lane is idle
        ((3, 3, 3, 8, 8), 41, 1),
        ((7, 7, 7, 8, 8), 1, 1),  # a 2-D image has nothing to pack
    ],
)
def test_only_what_leaves_lanes_idle_is_packed(kernel_shape, length, expected):
    assert choose_pack(kernel_shape, length) == expected


LAYERS = [
    dict(filters=8, kernel_size=7, padding="same"),
    dict(filters=4, kernel_size=5, padding="same", use_bias=False, activation="relu"),
    dict(filters=8, kernel_size=7, padding="valid"),
    dict(filters=8, kernel_size=7, padding="same", strides=2),
    dict(filters=8, kernel_size=7, padding="same", dilation_rate=2),
    dict(filters=8, kernel_size=7, padding="same", groups=2),
    dict(filters=8, kernel_size=6, padding="same"),
]


@pytest.mark.parametrize("config", LAYERS)
def test_the_layer_is_kerass(rng, config):
    """Weights, configuration and output, for whatever Keras's layer can do."""
    inputs = tf.constant(rng.normal(size=(2, 8, 9, 11, 4)), tf.float32)
    reference = tf.keras.layers.Conv3D(**config, name="conv")
    packed = PackedConv3D(**config, name="conv")
    expected = reference(inputs)
    packed(inputs)
    packed.set_weights(reference.get_weights())
    assert packed.get_config() == reference.get_config()
    np.testing.assert_allclose(packed(inputs), expected, atol=2e-5)


def test_the_layer_packs(rng):
    """Seen in its graph: the kernel of the convolution has four taps of pairs."""
    layer = PackedConv3D(filters=8, kernel_size=7, padding="same")
    inputs = tf.zeros([1, 9, 9, 9, 2])
    layer(inputs)
    graph = tf.function(lambda x: layer(x)).get_concrete_function(inputs).graph
    shapes = [
        op.inputs[1].shape for op in graph.get_operations() if op.type == "Conv3D"
    ]
    assert shapes == [(7, 7, 4, 4, 16)]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(
    "options", [{}, dict(strides=2), dict(padding="valid"), dict(dilation_rate=2)]
)
def test_an_image_is_convolved_as_an_image(rng, axis, options):
    """With Keras's own answer, weights and bias; there is no operation for volumes."""
    sizes = dict(dict(kernel_size=3, padding="same"), **options)
    for name in ("kernel_size", "strides", "dilation_rate"):
        value = sizes.get(name, 1)
        sizes[name] = tuple(1 if i == axis else value for i in range(3))
    shape = [2, *(1 if i == axis else n for i, n in enumerate((9, 8, 7))), 3]
    image = tf.constant(rng.normal(size=shape), tf.float32)
    options = dict(filters=4, bias_initializer="ones", **sizes)
    plain, ours = tf.keras.layers.Conv3D(**options), PackedConv3D(**options)
    expected = plain(image)
    ours.build(image.shape)
    ours.set_weights(plain.get_weights())
    np.testing.assert_allclose(ours(image), expected, atol=1e-5)
    graph = tf.function(ours).get_concrete_function(image).graph
    kinds = {op.type for op in graph.get_operations()}
    assert "Conv2D" in kinds and "Conv3D" not in kinds


def gradient_of(layer, inputs, dtype):
    """:return: output, and gradients of inputs and kernel, in float32."""
    inputs = tf.cast(inputs, dtype)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        output = layer.convolution_op(inputs, tf.cast(layer.kernel, dtype))
    assert output.dtype == dtype
    gradients = tape.gradient(output, [inputs, layer.kernel])
    return [tf.cast(value, tf.float32).numpy() for value in (output, *gradients)]


@pytest.mark.parametrize(
    ("shape", "options", "expected"),
    [
        ((2, 4, 5), {}, tf.float32),
        ((3, 4, 5), {}, tf.bfloat16),
        ((4, 2, 2), {}, tf.bfloat16),
        ((4, 5, 6), dict(dilation_rate=2), tf.float32),
        ((5, 5, 6), dict(dilation_rate=2), tf.bfloat16),
        ((2, 5, 1), dict(kernel_size=(3, 3, 1)), tf.float32),
        ((1, 2, 5), dict(kernel_size=(1, 3, 3)), tf.float32),
        ((1, 3, 2), dict(kernel_size=(1, 3, 3)), tf.bfloat16),
    ],
)
def test_bfloat16_is_left_where_it_would_cost_the_gradient(
    rng, shape, options, expected
):
    """Where the first axis is shorter than the kernel, on CPUs."""
    layer = PackedConv3D(**dict(filters=8, kernel_size=3, padding="same") | options)
    image = tf.constant(rng.normal(size=(1, *shape, 8)), tf.float32)
    layer(image)
    found = gradient_of(layer, image, tf.bfloat16)
    for ours, reference in zip(
        found, gradient_of(layer, image, tf.float32), strict=True
    ):
        assert np.abs(ours - reference).max() < 0.03 * np.abs(reference).max()
    graph = tf.function(layer.convolution_op).get_concrete_function(
        tf.cast(image, tf.bfloat16), tf.cast(layer.kernel, tf.bfloat16)
    ).graph  # fmt: skip
    kinds = {
        op.inputs[0].dtype
        for op in graph.get_operations()
        if op.type in ("Conv2D", "Conv3D")
    }
    assert kinds == {expected}
