"""Tests of deepreg_meta/backbone/fcn_ss.py; reference: TensorFlow's operations."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.backbone.fcn_ss import FCNSelfSupervised
from tests.helpers import randomize, values

SMALL = dict(num_channel_initial=3, normalization="none")


def images(rng, size):
    return tf.constant(rng.normal(size=(2, *size, 2)), tf.float32)


def built(rng, size, **options):
    """:return: a network with random weights, and images."""
    model, x = FCNSelfSupervised(size, **SMALL | options), images(rng, size)
    model(x)
    randomize(model)
    return model, x


# (in, out) of the convolutions, and of the heads
LAYERS = [(2, 32), (32, 64), (64, 128), (128, 64), (64, 64), (64, 32)]
HEADS = [(128, 3), (64, 3), (32, 3)]


@pytest.mark.parametrize("size", [(8, 8, 1), (8, 8, 8)])
def test_the_weights_are_those_of_its_layers(size):
    """Of normalised layers scale and shift in place of a bias."""
    ndims = 3 - size.count(1)
    products = sum(i * o for i, o in LAYERS + HEADS)
    channels = sum(o for _, o in LAYERS)
    assert (products, channels) == (25_312, 384)
    for normalization, each in (("batch", 2), ("none", 1)):
        model = FCNSelfSupervised(size, normalization=normalization)
        model(tf.zeros([1, *size, 2]))
        by_hand = 3**ndims * products + each * channels + 3 * 3
        found = sum(v.shape.num_elements() for v in model.trainable_variables)
        assert found == by_hand
        if normalization == "batch":
            assert found == {2: 228_585, 3: 684_201}[ndims]


def test_the_fields_have_one_resolution_each_finest_first(rng):
    """Half the size of the one before, rounded up."""
    model, x = built(rng, (9, 6, 5))
    shapes = [tuple(field.shape) for field in model.fields(x)]
    assert shapes == [(2, 9, 6, 5, 3), (2, 5, 3, 3, 3), (2, 3, 2, 2, 3)]
    np.testing.assert_array_equal(model(x), model.fields(x)[0])


def test_an_image_stays_an_image_at_every_resolution(rng):
    model, x = built(rng, (9, 6, 1))
    shapes = [tuple(field.shape[1:4]) for field in model.fields(x)]
    assert shapes == [(9, 6, 1), (5, 3, 1), (3, 2, 1)]


def test_the_network_is_that_of_its_description(rng):
    """An hourglass without connections between its sides, here in 2-D."""
    model, x = built(rng, (12, 8, 1))

    def conv(y, layer):
        kernel, bias = layer.weights
        return tf.nn.conv2d(y, kernel[:, :, 0], 1, "SAME") + bias

    def enlarge(y, layer):
        kernel, bias = layer.weights
        shape = [y.shape[0], 2 * y.shape[1], 2 * y.shape[2], kernel.shape[3]]
        y = tf.nn.conv2d_transpose(y, kernel[:, :, 0], shape, 2, "SAME")
        return tf.nn.relu(y + bias)

    y = x[..., 0, :]
    for level, block in enumerate(model._encoder):
        y = tf.nn.max_pool2d(y, 2, 2, "VALID") if level else y
        y = tf.nn.relu(conv(y, block))
    coarse = conv(y, model._heads[0])
    y = tf.nn.relu(conv(enlarge(y, model._ups[0]), model._convs[0]))
    middle = conv(y, model._heads[1])
    fine = conv(enlarge(y, model._ups[1]), model._heads[2])
    for found, expected in zip(model.fields(x), (fine, middle, coarse), strict=True):
        assert np.std(expected) > 0.01
        np.testing.assert_allclose(found[..., 0, :], expected, atol=1e-5)


def test_a_coarser_field_hears_nothing_of_the_finer_layers(rng):
    """And each head makes one field."""
    model, x = built(rng, (9, 6, 1))
    before = [field.numpy() for field in model.fields(x)]
    for layer, changed in (
        (model._heads[2], [True, False, False]),
        (model._ups[1], [True, False, False]),
        (model._heads[1], [False, True, False]),
        (model._convs[0], [True, True, False]),
        (model._heads[0], [False, False, True]),
    ):
        kept = values(layer.weights)
        randomize(layer, seed=1)
        after = model.fields(x)
        differences = [np.abs(a - b).max() for a, b in zip(after, before, strict=True)]
        assert [difference > 1e-6 for difference in differences] == changed
        layer.set_weights(kept)


def test_one_call_gives_all_heads_their_weights(rng):
    """An optimiser that is built then trains them too."""
    model = FCNSelfSupervised((8, 8, 1), **SMALL)
    model(images(rng, (8, 8, 1)))
    before = len(model.weights)
    model.fields(images(rng, (8, 8, 1)))
    assert len(model.weights) == before == 2 * len(LAYERS + HEADS)


def test_all_first_fields_are_zero(rng):
    model = FCNSelfSupervised((8, 8, 1), num_channel_initial=4)
    for field in model.fields(images(rng, (8, 8, 1))):
        np.testing.assert_array_equal(field, 0)


@pytest.mark.parametrize("count, expected", [(1, []), (3, [0.6, 0.3]), (4, None)])
def test_the_weights_of_the_side_losses_halve(rng, count, expected):
    model, x = built(rng, (8, 8, 1), num_resolutions=count)
    expected = [0.6, 0.3, 0.15] if expected is None else expected
    assert model.side_weights == pytest.approx(expected)
    assert len(model.fields(x)) == count == len(model.side_weights) + 1


def test_side_weights_are_options_and_come_back():
    model = FCNSelfSupervised((8, 8, 1), **SMALL, side_weights=[0.5, 0])
    assert model.side_weights == (0.5, 0.0)
    assert model.get_config()["side_weights"] == [0.5, 0.0]


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(num_resolutions=0), "num_resolutions: expected an integer >= 1, got 0"),
        (dict(side_weights=[1.0]), r"side_weights: expected 2 numbers >= 0.*\[1.0\]"),
        (dict(side_weights=[1, -1]), r"side_weights: expected 2 .*got \[1, -1\]"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(ValueError, match=f"train.backbone.{message}"):
        FCNSelfSupervised((8, 8, 1), **options)
