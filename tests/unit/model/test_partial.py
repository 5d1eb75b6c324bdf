"""Tests of deepreg_meta/model/partial.py."""

import numpy as np
import pytest
import tensorflow as tf
from deepreg.model.backbone.interface import Backbone

from deepreg_meta.model.field_network import FieldNetwork
from deepreg_meta.model.partial import PARTS, adaptable_layers, select_part
from tests.helpers import assert_same_bits, randomize, values

SHAPE, CHANNELS = (12, 10, 8), 2
OPTIONS = dict(num_channel_initial=CHANNELS)
BACKBONES = {
    "local": dict(name="local", extract_levels=[0, 2], **OPTIONS),
    "local_norm": dict(name="local_norm", extract_levels=[0, 2], **OPTIONS),
    "moving": dict(
        name="local_norm", extract_levels=[0, 2], normalization="moving", **OPTIONS
    ),
    "unet": dict(name="unet", depth=2, **OPTIONS),
}
# Kernels of 3x3x3 and biases of the output layers: three components from the channels
# of level 0, and for LocalNet from those of level 2, four times as many.
NUM_HEAD_WEIGHTS = dict.fromkeys(BACKBONES, (27 * 2 * 3 + 3) + (27 * 8 * 3 + 3))
NUM_HEAD_WEIGHTS["unet"] = 27 * 2 * 3 + 3


@pytest.fixture(scope="module")
def networks():
    """:return: gives the network of a backbone, built once, with random weights."""
    built = {}

    def network(name: str) -> FieldNetwork:
        if name not in built:
            built[name] = FieldNetwork("ddf", BACKBONES[name], SHAPE)
            randomize(built[name])
        return built[name]

    return network


@pytest.fixture(scope="module")
def images():
    """:return: moving and fixed input."""
    rng = np.random.default_rng(5)
    return [tf.constant(rng.random((1, *SHAPE)), tf.float32) for _ in range(2)]


def names(variables) -> set[str]:
    return {variable.name for variable in variables}


# ---- which variables ----


@pytest.mark.parametrize("name", BACKBONES)
def test_the_heads_are_in_the_decoder_and_the_decoder_in_all(networks, name):
    """Each smaller than the next, and in the order of the network's own lists."""
    network = networks(name)
    parts = {part: select_part(network, part) for part in PARTS}
    every, decoder, heads = (names(parts[part].variables) for part in PARTS)
    assert heads < decoder < every == names(network.trainable_variables)
    assert names(parts["all"].weights) == names(network.weights)
    for part in parts.values():
        order = [v.name for v in network.trainable_variables]
        positions = [order.index(v.name) for v in part.variables]
        assert positions == sorted(positions)
        assert names(part.variables) <= names(part.weights)


@pytest.mark.parametrize("name", BACKBONES)
def test_the_heads_have_the_weights_of_the_output_layers(networks, name):
    """Their number by hand; without them there is no field."""
    heads = select_part(networks(name), "heads")
    assert (
        sum(v.shape.num_elements() for v in heads.variables) == (NUM_HEAD_WEIGHTS[name])
    )
    assert names(heads.weights) == names(heads.variables)  # nothing normalises there


@pytest.mark.parametrize("name", BACKBONES)
def test_nothing_but_the_heads_makes_the_field(networks, images, name):
    """Heads of zeros give no field, whatever the rest is."""
    network = networks(name)
    heads, before = select_part(network, "heads"), values(network.weights)
    assert np.abs(network(*images)).max() > 0.01
    for variable in heads.variables:
        variable.assign(tf.zeros_like(variable))
    np.testing.assert_array_equal(network(*images), 0)
    for variable, value in zip(network.weights, before, strict=True):
        variable.assign(value)


@pytest.mark.parametrize("name", ["local", "unet"])
def test_the_decoder_is_what_comes_after_the_bottleneck(networks, name):
    """By DeepReg's own names of the layers; their statistics belong to it."""
    decoder = select_part(networks(name), "decoder")
    after = ("up_sample", "conv3d_with_resize")
    for variable in networks(name).weights:
        is_after = any(word in variable.name for word in after)
        assert (variable.name in names(decoder.weights)) == is_after
    assert any("moving_mean" in name for name in names(decoder.weights))


# ---- what stands still ----


@pytest.mark.parametrize(("name", "part", "number"), [
    # of LocalNet with two levels below the first: three in each down-sampling block,
    # one at the bottom, three in each up-sampling block
    ("local", "all", 0), ("local", "decoder", 7), ("local", "heads", 13),
    ("moving", "decoder", 7), ("local_norm", "decoder", 0), ("local_norm", "heads", 0),
])  # fmt: skip
def test_normalisation_by_moving_averages_stands_still_outside_of_the_part(
    networks, name, part, number
):
    """With statistics of the batch in prediction too there is nothing to hold."""
    network = networks(name)
    chosen = select_part(network, part)
    assert len(chosen.still) == number
    before = len(network.trainable_variables)
    with pytest.raises(KeyError), chosen.held():
        assert len(network.trainable_variables) == before - 2 * number
        raise KeyError
    assert len(network.trainable_variables) == before


@pytest.mark.parametrize("name", ["local", "moving", "unet"])
def test_a_held_network_trains_on_the_features_of_the_prediction(
    networks, images, name
):
    """Heads do not normalise: with the rest held, training is prediction."""
    network = networks(name)
    start = values(network.weights)
    expected = network(*images, training=False)
    with select_part(network, "heads").held():
        found = network(*images, training=True)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert_same_bits(network.weights, start)  # the averages stay where they are
    free = network(*images, training=True)
    assert np.abs(free - expected).max() > 1e-3
    for variable, value in zip(network.weights, start, strict=True):
        variable.assign(value)


# ---- backbones of one's own, and what cannot be ----


# ---- with the other options of a network ----


def partial_gradients(network, part, images):
    """:return: gradients of a part, and how many gradients of kernels were computed."""
    variables = select_part(network, part).variables

    @tf.function
    def compute():
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(variables)
            field = network(*images, training=True)
            # linear in the field: rounding must not grow on its way back
            above = tf.reshape(tf.linspace(-1.0, 1.0, tf.size(field)), field.shape)
            value = tf.reduce_sum(field * above)
        return tape.gradient(value, variables)

    kinds = [op.type for op in compute.get_concrete_function().graph.get_operations()]
    return compute(), kinds.count("Conv3DBackpropFilterV2")


@pytest.mark.parametrize("part", ["decoder", "heads"])
@pytest.mark.parametrize(
    ("options", "tolerance"),
    [
        (dict(recompute=True), 1e-3),
        (dict(precision="mixed_bfloat16"), 0.1),
        (dict(recompute=True, precision="mixed_bfloat16"), 0.1),
    ],
    ids=["recomputed", "bfloat16", "both"],
)
def test_parts_go_with_recomputing_and_lower_precision(
    networks, images, part, options, tolerance
):
    """The same gradients, and none for the kernels that stand still."""
    plain = networks("local")
    other = FieldNetwork("ddf", BACKBONES["local"], SHAPE, **options)
    for ours, theirs in zip(other.weights, plain.weights, strict=True):
        ours.assign(theirs)
    expected, number = partial_gradients(plain, part, images)
    found, number_found = partial_gradients(other, part, images)
    kernels = [v for v in select_part(other, part).variables if v.shape.rank == 5]
    assert number == number_found == len(kernels)
    a, b = (np.concatenate([np.ravel(x) for x in y]) for y in (found, expected))
    assert np.linalg.norm(a - b) < tolerance * np.linalg.norm(b)


class OneLayer(Backbone):
    """A backbone that is nothing but its head."""

    def __init__(self, can_say: bool = True) -> None:
        """:param can_say: whether it knows its parts."""
        super().__init__(
            image_size=SHAPE,
            out_channels=3,
            num_channel_initial=1,
            out_kernel_initializer="zeros",
            out_activation=None,
        )
        self._head = tf.keras.layers.Conv3D(3, 1)
        if can_say:
            self.adaptable_layers = self._say

    def _say(self, part: str) -> tuple[tf.keras.layers.Layer, ...]:
        return (self._head,) if part == "heads" else (tf.keras.layers.ReLU(),)

    def call(self, inputs, training=None, mask=None):
        """:return: the field."""
        return self._head(inputs)


class OneLayerNetwork(tf.keras.layers.Layer):
    """In place of `FieldNetwork`, which takes registered backbones."""

    def __init__(self, can_say: bool = True) -> None:
        """:param can_say: as of the backbone."""
        super().__init__()
        self.backbone, self.is_same_in_training = OneLayer(can_say), True
        self.backbone(tf.zeros([1, *SHAPE, 2]))


def test_a_backbone_of_ones_own_says_what_its_parts_are():
    """By a method of the name `adaptable_layers`."""
    network = OneLayerNetwork()
    assert adaptable_layers(network.backbone, "heads") == [network.backbone._head]
    found = select_part(network, "heads")
    assert [v.shape.num_elements() for v in found.variables] == [6, 3]


def test_a_part_without_weights_is_refused():
    """There would be nothing to adapt."""
    with pytest.raises(
        ValueError, match="adapt.layers: expected a part with weights"
    ) as e:
        select_part(OneLayerNetwork(), "decoder")
    assert "got 'decoder', of which the backbone OneLayer has none" in str(e.value)


def test_a_backbone_that_does_not_say_adapts_as_a_whole():
    """It is told which method it lacks."""
    network = OneLayerNetwork(can_say=False)
    assert len(select_part(network, "all").variables) == 2
    with pytest.raises(
        ValueError, match=r"adapt.layers: expected all with the back"
    ) as e:
        select_part(network, "heads")
    assert "OneLayer, which has no method adaptable_layers(part)" in str(e.value)
    assert str(e.value).endswith("got 'heads'.")


def test_a_global_network_has_heads_and_no_decoder():
    """Its field is that of one affine map, from a dense layer."""
    backbone = dict(name="global", extract_levels=[2], **OPTIONS)
    network = FieldNetwork("ddf", backbone, SHAPE)
    heads = select_part(network, "heads").variables
    # 3 x 3 x 2 voxels of 8 channels at level 2, to the 12 numbers of the map
    assert [v.shape.num_elements() for v in heads] == [18 * 8 * 12, 12]
    with pytest.raises(
        ValueError, match="adapt.layers: expected all or heads with"
    ) as e:
        select_part(network, "decoder")
    assert "GlobalNet, which has no decoder, got 'decoder'" in str(e.value)


def test_another_part_is_refused(networks):
    """The parts there are, and the one asked for."""
    with pytest.raises(ValueError, match="one of all, decoder, heads, got 'encoder'"):
        select_part(networks("local"), "encoder")
