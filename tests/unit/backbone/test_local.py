"""Tests of LocalNet with a choice of normalisation; reference: DeepReg's LocalNet."""

import numpy as np
import pytest
import tensorflow as tf
from deepreg.model.backbone.local_net import LocalNet
from deepreg.registry import REGISTRY

from deepreg_meta.backbone.local import NORMALIZATIONS, LocalNetNorm

SIZE = (8, 6, 10)
COMMON = dict(
    image_size=SIZE,
    out_channels=3,
    num_channel_initial=4,
    extract_levels=[0, 1],
    out_kernel_initializer="glorot_uniform",
    out_activation=None,
)


def build(normalization, initial_kernel_size=3, **config):
    return LocalNetNorm(
        **COMMON | config,
        normalization=normalization,
        initial_kernel_size=initial_kernel_size,
    )


def images(rng, batch=2):
    return tf.constant(rng.normal(1.0, 2.0, (batch, *SIZE, 2)), tf.float32)


def weight_shapes(model):
    return sorted(tuple(weight.shape) for weight in model.weights)


def copy_weights(source, target, inputs):
    """Build both and give the target the weights of the source."""
    source(inputs), target(inputs)
    for a, b in zip(source.trainable_weights, target.trainable_weights, strict=True):
        b.assign(a)


@pytest.mark.parametrize("name", NORMALIZATIONS)
def test_only_moving_averages_tell_training_from_inference(mode, rng, name):
    model, x = build(name), images(rng)
    model(x)
    inference, training = mode(lambda: [model(x, training=t) for t in (False, True)])()
    assert training.shape == (2, *SIZE, 3) and np.std(training) > 0.01
    difference = np.max(np.abs(training - inference))
    assert difference > 0.01 if name == "moving" else difference == 0.0


@pytest.mark.parametrize("name", ["batch", "instance", "group", "none"])
def test_earlier_batches_leave_no_trace_in_the_output(rng, name):
    model, x = build(name), images(rng)
    before = model(x, training=False).numpy()
    for _ in range(3):
        model(5.0 + images(rng), training=True)
    np.testing.assert_array_equal(model(x, training=False), before)


def test_batch_equals_instance_normalisation_for_one_sample_only(rng):
    one, two = images(rng, batch=1), images(rng, batch=2)
    batch, instance = build("batch"), build("instance")
    copy_weights(batch, instance, one)
    np.testing.assert_allclose(batch(one), instance(one), atol=2e-4)
    assert np.max(np.abs(batch(two) - instance(two))) > 0.01


@pytest.mark.parametrize("name", ["instance", "group", "none"])
def test_samples_do_not_see_each_other_but_in_batch_statistics(rng, name):
    model, x = build(name), images(rng)
    np.testing.assert_allclose(model(x)[:1], model(x[:1]), atol=1e-5)
    batch = build("batch")
    assert np.max(np.abs(batch(x)[:1] - batch(x[:1]))) > 0.01


def test_the_scale_of_the_images_matters_only_without_normalisation(rng):
    x = images(rng)
    for name in NORMALIZATIONS:
        model = build(name)
        model(x)
        change = np.max(np.abs(model(3.0 * x, training=True) - model(x, training=True)))
        assert (change > 0.1) == (name == "none"), name


@pytest.mark.parametrize("name", ["moving", "batch"])
def test_weights_are_those_of_deepregs_localnet(rng, name):
    reference, model, x = LocalNet(**COMMON), build(name, 7), images(rng, batch=1)
    copy_weights(reference, model, x)
    assert weight_shapes(model) == weight_shapes(reference)
    expected = reference(x, training=True)
    np.testing.assert_allclose(model(x, training=True), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["instance", "group", "none"])
def test_other_normalisations_have_no_moving_averages(rng, name):
    model = build(name)
    model(images(rng, batch=1))
    assert model.non_trainable_weights == []


def test_the_initial_kernel_size_is_that_of_the_first_level(rng):
    x = images(rng, batch=1)
    for size in (1, 3, 5, 7):
        model = build("none", size)
        model(x)
        kernels = [shape[0] for shape in weight_shapes(model) if len(shape) == 5]
        # one convolution and a residual block of two at full size; 3 elsewhere
        assert kernels.count(size) >= 3 and max(kernels) == max(size, 3)


def test_building_one_leaves_deepregs_own_normalisation_alone(rng):
    model = build("none")
    other = LocalNet(**COMMON)
    x = images(rng, batch=1)
    other(x), model(x)
    kinds = {type(layer._norm).__name__ for layer in norms(other)}
    assert kinds == {"BatchNormalization"}


def norms(model):
    return [m for m in model.submodules if type(m).__name__ == "Norm"]


def test_the_registry_builds_it_and_its_configuration_comes_back(rng):
    model = REGISTRY.build_backbone(
        config=dict(
            name="local_norm",
            num_channel_initial=4,
            extract_levels=[0, 1],
            normalization="group",
            initial_kernel_size=5,
        ),
        default_args=dict(
            image_size=SIZE,
            out_channels=3,
            out_kernel_initializer="zeros",
            out_activation=None,
        ),
    )
    again = LocalNetNorm(**model.get_config())
    x = images(rng, batch=1)
    np.testing.assert_array_equal(model(x), np.zeros((1, *SIZE, 3)))  # starts at zero
    again(x)
    assert again.get_config() == model.get_config()
    assert weight_shapes(again) == weight_shapes(model)


def test_group_normalisation_takes_any_number_of_channels(rng):
    model = build("group", num_channel_initial=12, extract_levels=[0])
    assert model(images(rng, batch=1)).shape == (1, *SIZE, 3)


@pytest.mark.parametrize(
    "normalization, size, message",
    [
        ("layer", 3, "normalization: expected one of batch, .*, got 'layer'"),
        ("batch", 4, "initial_kernel_size: expected an odd integer >= 1, got 4"),
        ("batch", -1, "initial_kernel_size: .* got -1"),
    ],
)
def test_impossible_arguments_are_refused(normalization, size, message):
    with pytest.raises(ValueError, match=message):
        build(normalization, size)
