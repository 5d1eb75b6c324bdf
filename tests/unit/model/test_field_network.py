"""Tests of deepreg_meta/model/field_network.py."""

import numpy as np
import pytest
import tensorflow as tf

from deepreg_meta.model.field_network import FieldNetwork
from tests.helpers import randomize

FIXED = (6, 7, 8)
BACKBONE = dict(
    name="local_norm",
    num_channel_initial=1,
    extract_levels=[0, 1],
    initial_kernel_size=3,
    normalization="none",
)


@pytest.fixture(scope="module")
def networks():
    """:return: networks for displacements and velocities, with equal weights."""
    return {base: FieldNetwork(base, BACKBONE, FIXED) for base in ("ddf", "dvf")}


@pytest.fixture(scope="module")
def images():
    """:return: moving and fixed input."""
    rng = np.random.default_rng(5)
    return [tf.constant(rng.random((1, *FIXED)), tf.float32) for _ in range(2)]


def test_a_constant_velocity_is_a_constant_displacement(networks, images):
    """In the interior: beyond the border there is no velocity to integrate."""
    fields = {}
    for base, network in networks.items():
        for variable in network.weights:
            variable.assign(tf.zeros_like(variable))
            if variable.shape == [3]:  # biases of the output layers
                variable.assign([0.3, -0.2, 0.1])
        fields[base] = network(*images).numpy()
        assert fields[base].shape == (1, *FIXED, 3)
    constant = fields["ddf"][0, 3, 3, 4]
    assert np.abs(constant).min() > 0.05
    np.testing.assert_allclose(fields["ddf"] - constant, 0, atol=1e-6)
    np.testing.assert_allclose(
        fields["dvf"][:, 2:-2, 2:-2, 2:-2] - constant, 0, atol=1e-4
    )


def test_a_velocity_is_integrated_not_taken_for_a_displacement(networks, images):
    """With random weights both differ; the second order term is small."""
    fields = {}
    for base, network in networks.items():
        for variable in network.weights:
            variable.assign(tf.zeros_like(variable))
        randomize(network)
        fields[base] = network(*images).numpy()
    difference = np.abs(fields["ddf"] - fields["dvf"]).max()
    assert 1e-4 < difference < np.abs(fields["ddf"]).max()


def test_the_backbone_gets_the_moving_image_first(networks, images):
    """As in DeepReg: channels (moving, fixed)."""
    randomize(networks["ddf"])
    expected = networks["ddf"].backbone(tf.stack(images, axis=-1))
    found = networks["ddf"](*images)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    swapped = networks["ddf"](*images[::-1])
    assert np.abs(found - swapped).max() > 1e-3


def test_a_model_without_a_field_is_refused():
    """Its outputs are named."""
    with pytest.raises(ValueError, match="train.meta.base: expected a model that") as e:
        FieldNetwork("conditional", BACKBONE, FIXED)
    assert "'conditional', which predicts ['pred_fixed_label']" in str(e.value)


@pytest.mark.parametrize("base", ["ddf", "dvf"])
def test_lower_precision_and_recomputing_give_nearly_the_same_float32_field(
    images, base
):
    plain = FieldNetwork(base, BACKBONE, FIXED)
    other = FieldNetwork(
        base, BACKBONE, FIXED, precision="mixed_bfloat16", recompute=True
    )
    randomize(plain)
    for ours, theirs in zip(other.weights, plain.weights, strict=True):
        ours.assign(theirs)
    expected, found = plain(*images), other(*images, training=True)
    assert found.dtype == tf.float32
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    assert 1e-6 < difference < 0.05


def test_where_nothing_is_recomputed_it_is_told(caplog):
    """Only DeepReg's backbones, and what inherits from them, have such blocks."""
    for backbone in (BACKBONE, dict(name="unet", num_channel_initial=1, depth=1)):
        FieldNetwork("ddf", backbone, FIXED, recompute=True)
    own = dict(name="voxelmorph2", num_channel_initial=1, depth=1)
    FieldNetwork("ddf", own, FIXED)
    assert "train.recompute" not in caplog.text
    FieldNetwork("ddf", own, FIXED, recompute=True)
    assert "recompute: has no effect with the backbone voxelmorph2" in caplog.text


def test_affine_maps_need_float32():
    backbone = dict(name="global", num_channel_initial=2, extract_levels=[0, 1])
    FieldNetwork("ddf", backbone, FIXED)
    with pytest.raises(ValueError, match="train.precision: expected float32 with the"):
        FieldNetwork("ddf", backbone, FIXED, precision="mixed_bfloat16")


@pytest.mark.parametrize("base", ["ddf", "dvf"])
@pytest.mark.parametrize("size", [(8, 7, 1), (8, 1, 7)])
def test_an_image_is_displaced_in_its_plane(base, size):
    network = FieldNetwork(base, BACKBONE, size)
    randomize(network)
    rng = np.random.default_rng(5)
    images = [tf.constant(rng.random((2, *size)), tf.float32) for _ in range(2)]
    field = network(*images).numpy()
    flat = size.index(1)
    assert (field[..., flat] == 0).all()
    moved = np.delete(field, flat, axis=-1)
    assert np.abs(moved).max(axis=(0, 1, 2, 3)).min() > 1e-3
    for weight in network.weights:
        if weight.shape.rank == 5:
            assert weight.shape[flat] == 1
