"""Tests of deepreg_meta/backbone/blocks.py; reference: DeepReg's own backbones."""

import numpy as np
import pytest
import tensorflow as tf
from deepreg.model import layer
from deepreg.model.backbone.local_net import LocalNet
from deepreg.model.backbone.u_net import UNet

from deepreg_meta.backbone.blocks import fast_blocks, singleton_axes

SIZE = (12, 10, 14)
COMMON = dict(
    image_size=SIZE,
    out_channels=3,
    num_channel_initial=4,
    out_kernel_initializer="glorot_uniform",
    out_activation=None,
)
BACKBONES = {
    "local": lambda: LocalNet(**COMMON, extract_levels=[0, 1, 2]),
    "unet": lambda: UNet(**COMMON, depth=2),
    "unet that concatenates": lambda: UNet(
        **COMMON, depth=1, pooling=False, concat_skip=True
    ),
    "control points": lambda: LocalNet(
        **COMMON, extract_levels=[0, 1], control_points=(2, 2, 2)
    ),
}


@pytest.fixture(params=BACKBONES)
def make(request, rng):
    """:return: builds DeepReg's backbone, or ours with the same weights."""
    inputs = tf.constant(rng.normal(1.0, 2.0, (2, *SIZE, 2)), tf.float32)

    def build(**options):
        with fast_blocks(**options):
            model = BACKBONES[request.param]()
            model(inputs)
        for ours, theirs in zip(model.weights, reference.weights, strict=True):
            assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
            ours.assign(theirs)
        return model

    reference = BACKBONES[request.param]()
    reference(inputs)
    for weight in reference.trainable_weights:
        if weight.shape.rank == 1:  # scales and shifts, 1 and 0 at first
            weight.assign_add(rng.uniform(0.1, 0.5, weight.shape))
    build.reference, build.inputs = reference, inputs
    return build


def step(model, inputs):
    """:return: field, gradients and normalisation statistics of a training step."""
    with tf.GradientTape() as tape:
        field = model(inputs, training=True)
        field = tf.cast(field, tf.float32)
        # linear in the field: rounding must not grow on its way back
        above = tf.reshape(tf.linspace(-1.0, 1.0, tf.size(field)), field.shape)
        value = tf.reduce_sum(field * above)
    gradients = tape.gradient(value, model.trainable_variables)
    statistics = [tf.identity(weight) for weight in model.non_trainable_weights]
    return [field, *gradients, *statistics]


def relative_difference(a, b):
    return np.linalg.norm(np.subtract(a, b)) / (np.linalg.norm(b) + 1e-6)


def test_field_gradients_and_statistics_are_deepregs(make):
    ours = make()
    expected = step(make.reference, make.inputs)
    for a, b in zip(step(ours, make.inputs), expected, strict=True):
        assert relative_difference(a, b) < 1e-2


def test_prediction_is_deepregs(make):
    ours = make()
    expected = make.reference(make.inputs, training=False)
    np.testing.assert_allclose(ours(make.inputs, training=False), expected, atol=1e-4)


def test_recomputing_changes_nothing(make, mode):
    """Moving averages are not moved twice."""
    plain, thrifty = make(), make(recompute=True)
    expected = mode(lambda: step(plain, make.inputs))()
    found = mode(lambda: step(thrifty, make.inputs))()
    for a, b in zip(found, expected, strict=True):
        assert relative_difference(a, b) < 1e-4


def test_recomputing_runs_the_convolutions_of_the_blocks_again(make):
    def count(model):
        function = tf.function(lambda x: step(model, x))
        graph = function.get_concrete_function(make.inputs).graph
        return sum(op.type == "Conv3D" for op in graph.get_operations())

    assert count(make(recompute=True)) > 1.4 * count(make())


def test_lower_precision_is_nearly_the_same_with_fields_in_float32(make):
    ours = make(precision="mixed_bfloat16")
    expected = make.reference(make.inputs, training=True)
    found = ours(make.inputs, training=True)
    assert found.dtype == tf.float32
    assert 1e-5 < relative_difference(found, expected) < 0.1
    assert {weight.dtype for weight in ours.weights} == {tf.float32}
    kinds = {op.dtype for op in convolution_inputs(ours, make.inputs)}
    assert tf.bfloat16 in kinds


def convolution_inputs(model, inputs):
    function = tf.function(lambda x: model(x, training=True))
    graph = function.get_concrete_function(inputs).graph
    return [op.inputs[0] for op in graph.get_operations() if op.type == "Conv3D"]


def test_the_layers_of_fields_convolve_in_float32():
    with fast_blocks("mixed_bfloat16"):
        head = layer.Conv3dWithResize(output_shape=SIZE, filters=3)
        block = layer.Conv3dBlock(filters=4)
    inputs = tf.ones([1, 6, 5, 7, 4])
    assert head(inputs).dtype == tf.float32
    assert {x.dtype for x in convolution_inputs(head, inputs)} == {tf.float32}
    assert block(inputs).dtype == tf.bfloat16


def test_an_unknown_precision_is_refused_with_its_key():
    rule = "train.precision: expected one of float32"
    with pytest.raises(ValueError, match=rule), fast_blocks("float64"):
        pass


@pytest.mark.parametrize("options", [{}, dict(precision="mixed_bfloat16")])
def test_deepregs_blocks_and_the_policy_are_as_before(options):
    before = dict(vars(layer)), tf.keras.mixed_precision.global_policy().name
    with pytest.raises(RuntimeError), fast_blocks(**options, recompute=True):
        assert vars(layer) != before[0]
        raise RuntimeError
    after = dict(vars(layer)), tf.keras.mixed_precision.global_policy().name
    assert after == before


# ---- images: a singleton axis, along which there is nothing to see ----

PLANES = {
    "local": lambda size: LocalNet(
        **{**COMMON, "image_size": size}, extract_levels=[0, 1, 2]
    ),
    "unet": lambda size: UNet(**{**COMMON, "image_size": size}, depth=2),
    "unet that strides": lambda size: UNet(
        **{**COMMON, "image_size": size}, depth=2, pooling=False, concat_skip=True
    ),
}


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", PLANES)
def test_an_image_has_the_field_of_deepregs_kernels_middle_slices(rng, name, axis):
    """The other slices of DeepReg's kernels meet zeros alone."""
    size = tuple(1 if i == axis else n for i, n in enumerate(SIZE))
    inputs = tf.constant(rng.normal(1.0, 2.0, (2, *size, 2)), tf.float32)
    reference = PLANES[name](size)
    reference(inputs)
    with fast_blocks(flat=(axis,)):
        ours = PLANES[name](size)
        ours(inputs)
    for weight, full in zip(ours.weights, reference.weights, strict=True):
        values = full.numpy()
        if values.ndim == 5:
            assert weight.shape[axis] == 1
            values = values.take([values.shape[axis] // 2], axis)
        weight.assign(values)
    expected = reference(inputs, training=False)
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(ours(inputs, training=False), expected, atol=1e-4)


def test_control_points_are_refused_for_images():
    with (
        pytest.raises(ValueError, match="control_points: expected none for images"),
        fast_blocks(flat=(2,)),
    ):
        size = (12, 10, 1)
        options = dict(COMMON, image_size=size, control_points=(2, 2, 2))
        LocalNet(**options, extract_levels=[0, 1])


@pytest.mark.parametrize(
    ("size", "axes"), [((4, 5, 1), (2,)), ((1, 5, 1), (0, 2)), ((4, 5, 6), ())]
)
def test_singleton_axes_are_those_of_one_voxel(size, axes):
    assert singleton_axes(size) == axes
