"""Tests of deepreg_meta/backbone/field_backbone.py, with all that inherit from it."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from deepreg.registry import REGISTRY

from deepreg_meta.backbone.blocks import fast_blocks, singleton_axes
from deepreg_meta.model.field_network import FieldNetwork
from deepreg_meta.model.partial import select_part
from tests.helpers import randomize

BACKBONES = {
    "voxelmorph1": dict(num_channel_initial=4, depth=2),
    "voxelmorph2": dict(num_channel_initial=4, depth=2),
    "unet_transposed": dict(num_channel_initial=4, depth=2),
    "dirnet": dict(num_channel_initial=4, num_poolings=2),
    "fcn_ss": dict(num_channel_initial=3),
}
_UNET = dict(encoder=[2, 3], decoder=[4, 3, 2, 5], head_stddev=0.5)
OTHERS = {
    "voxelmorph1": _UNET,
    "voxelmorph2": _UNET,
    "unet_transposed": _UNET,
    "dirnet": dict(num_pointwise=1, normalization="instance"),
    "fcn_ss": dict(num_resolutions=2, side_weights=[0.4], normalization="group"),
}
VOLUME, IMAGE = (7, 6, 9), (9, 6, 1)


@pytest.fixture(params=BACKBONES)
def name(request):
    return request.param


def build(name, size, **options):
    return REGISTRY.build_backbone(
        config=dict(name=name, **BACKBONES[name] | options),
        default_args=dict(
            image_size=size,
            out_channels=3,
            out_kernel_initializer="zeros",
            out_activation=None,
        ),
    )


def images(rng, size, batch=1):
    return tf.constant(rng.normal(size=(batch, *size, 2)), tf.float32)


def built(name, size, rng, **options):
    """:return: a backbone whose weights are random, and images."""
    model, x = build(name, size, **options), images(rng, size)
    model(x)
    randomize(model)
    return model, x


def outputs(model, x, training=True):
    """:return: all that a backbone predicts."""
    if hasattr(model, "fields"):
        return model.fields(x, training=training)
    return [model(x, training=training)]


def input_types(graph, kind):
    """:return: the types of what operations of a kind take, without their sizes."""
    return [op.inputs[-1].dtype for op in graph.get_operations() if op.type == kind]


# ---- what all of them are ----


@pytest.mark.parametrize("size", [VOLUME, IMAGE, (3, 1, 2)])
def test_the_field_has_the_size_of_the_images(rng, name, size):
    model, x = built(name, size, rng)
    field = model(x)
    assert field.shape == (1, *size, 3) and field.dtype == tf.float32
    assert np.std(field) > 0.001


def test_the_first_field_is_zero_or_tiny(rng, name):
    field = build(name, VOLUME)(images(rng, VOLUME))
    assert np.max(np.abs(field)) < 1e-3


@pytest.mark.parametrize("size, is_fast", [(IMAGE, False), ((5, 1, 8), True)])
def test_kernels_do_not_look_along_a_singleton_axis(rng, name, size, is_fast):
    """Nor do they where DeepReg itself builds the network."""
    (flat,) = singleton_axes(size)
    with fast_blocks(flat=(flat,) if is_fast else ()):
        model, _ = built(name, size, rng)
    kernels = [v.shape[:3] for v in model.weights if v.shape.rank == 5]
    assert {kernel[flat] for kernel in kernels} == {1}
    for axis in {0, 1, 2} - {flat}:
        assert max(kernel[axis] for kernel in kernels) == 3


@pytest.mark.parametrize("size", [VOLUME, IMAGE])
def test_the_gradient_reaches_every_weight(rng, name, size):
    model, x = built(name, size, rng)
    with tf.GradientTape() as tape:
        value = tf.add_n(
            [
                tf.reduce_sum(field * rng.normal(size=field.shape))
                for field in outputs(model, x)
            ]
        )
    variables = model.trainable_variables
    for variable, gradient in zip(
        variables, tape.gradient(value, variables), strict=True
    ):
        assert np.max(np.abs(gradient)) > 0, variable.name


def test_graphs_and_training_compute_the_same(rng, mode, name):
    model, x = built(name, IMAGE, rng)
    assert model.is_same_in_training
    expected = model(x, training=False)
    found = mode(lambda: model(x, training=True))()
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_the_configuration_builds_an_equal_backbone(rng, name):
    """Of options that are none of the defaults."""
    options = BACKBONES[name] | OTHERS[name] | dict(out_activation="tanh")
    model, x = built(name, IMAGE, rng, **options)
    config = model.get_config()
    assert {key: config[key] for key in options} == options
    again = type(model)(**config)
    again(x)
    assert again.get_config() == config
    for ours, theirs in zip(again.weights, model.weights, strict=True):
        ours.assign(theirs)
    np.testing.assert_array_equal(again(x), model(x))


# 9 voxels are 3 at the bottom: none of the convolutions needs float32
@pytest.mark.parametrize("size", [(9, 6, 7), IMAGE])
def test_lower_precision_gives_nearly_the_same_float32_field(rng, name, size):
    """All convolutions are done in it but those of the heads."""
    reference, x = built(name, size, rng)
    with fast_blocks("mixed_bfloat16", flat=singleton_axes(size)):
        model = build(name, size)
    model(x)
    for ours, theirs in zip(model.weights, reference.weights, strict=True):
        ours.assign(theirs)
        assert ours.dtype == tf.float32
    with tf.GradientTape() as tape:
        fields = outputs(model, x)
    gradients = tape.gradient(fields, model.trainable_variables)
    assert all(np.isfinite(gradient).all() for gradient in gradients)
    for found, expected in zip(fields, outputs(reference, x), strict=True):
        assert found.dtype == tf.float32
        difference = np.linalg.norm(found - expected) / np.linalg.norm(expected)
        assert 1e-5 < difference < 0.1
    graph = tf.function(lambda: outputs(model, x)).get_concrete_function().graph
    images = size == IMAGE
    kinds = input_types(graph, "Conv2D" if images else "Conv3D")
    assert kinds.count(tf.float32) == len(model.adaptable_layers("heads"))
    assert kinds.count(tf.bfloat16) == len(kinds) - kinds.count(tf.float32) > 0
    transposed = input_types(
        graph, "Conv2DBackpropInput" if images else "Conv3DBackpropInputV2"
    )
    assert set(transposed) <= {tf.bfloat16}
    assert len(transposed) == (2 if name in ("unet_transposed", "fcn_ss") else 0)


# ---- in the network of this package ----


@pytest.fixture(scope="module")
def network_of():
    """:return: gives the network of a backbone for images, built once."""

    @functools.cache
    def network(name):
        config = dict(name=name, **BACKBONES[name])
        return FieldNetwork("ddf", config, IMAGE, recompute=True)

    return network


def test_an_image_is_displaced_in_its_plane_alone(rng, network_of, name):
    network = network_of(name)
    assert network.is_same_in_training
    randomize(network)
    x = images(rng, IMAGE)
    field = network(x[..., 0], x[..., 1], training=True).numpy()
    expected = network.backbone(x)[..., :2]
    np.testing.assert_allclose(field[..., :2], expected, atol=1e-5)
    assert np.std(expected) > 0.01
    np.testing.assert_array_equal(field[..., 2], 0)


def test_nothing_but_the_heads_makes_the_field(rng, network_of, name):
    """Heads of zeros give no field, whatever the rest is."""
    network = network_of(name)
    randomize(network)
    heads = select_part(network, "heads").variables
    sizes = {v.shape[-1] for v in heads}
    assert sizes == {3} and len(heads) < len(network.trainable_variables)
    for variable in heads:
        variable.assign(tf.zeros_like(variable))
    x = images(rng, IMAGE)
    np.testing.assert_array_equal(network(x[..., 0], x[..., 1]), 0)


def test_the_decoder_is_what_comes_after_the_encoder(network_of, name):
    """DIRNet has none that could be trained."""
    network = network_of(name)
    if name == "dirnet":
        with pytest.raises(ValueError, match="layers: expected all or heads with the"):
            select_part(network, "decoder")
        return
    decoder = {v.ref() for v in select_part(network, "decoder").variables}
    heads = {v.ref() for v in select_part(network, "heads").variables}
    encoder = {
        v.ref() for block in network.backbone._encoder for v in block.trainable_weights
    }
    assert heads < decoder and encoder.isdisjoint(decoder)
    assert len(encoder | decoder) == len(network.trainable_variables)


@pytest.mark.parametrize("kind", ["dirnet", "fcn_ss"])
@pytest.mark.parametrize("normalization", ["moving", "batch", "group"])
def test_only_moving_averages_tell_training_from_prediction(rng, kind, normalization):
    model, x = built(kind, IMAGE, rng, normalization=normalization)
    difference = np.max(np.abs(model(x, training=True) - model(x, training=False)))
    is_same = normalization != "moving"
    assert model.is_same_in_training == is_same == (difference < 1e-6)


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(out_channels=1), "field of 3 components, such as ddf or dvf, got 1 out"),
        (dict(num_channel_initial=0), "num_channel_initial: expected an integer >= 1"),
    ],
)
def test_options_that_no_field_can_have_are_refused(name, options, message):
    with pytest.raises(ValueError, match=f"train.backbone.*{message}"):
        build(name, IMAGE, **options)


@pytest.mark.parametrize("kind", ["dirnet", "fcn_ss"])
def test_an_unknown_normalization_is_refused(kind):
    rule = "normalization: expected one of batch, .*, got 'layer'"
    with pytest.raises(ValueError, match=rule):
        build(kind, IMAGE, normalization="layer")
