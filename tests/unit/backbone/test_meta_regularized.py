"""Tests of deepreg_meta/backbone/meta_regularized.py."""

import numpy as np
import pytest
import tensorflow as tf
import yaml
from deepreg.registry import REGISTRY

from deepreg_meta.backbone.meta_regularized import MetaRegularized
from deepreg_meta.model import field_network
from deepreg_meta.model.field_network import FieldNetwork
from deepreg_meta.model.partial import select_part
from tests.helpers import assert_same_bits, randomize, values

SIZE, IMAGE = (8, 6, 10), (16, 12, 1)
LOCAL = dict(
    name="local_norm",
    num_channel_initial=2,
    extract_levels=[0, 1],
    initial_kernel_size=3,
)
UNET = dict(name="unet", num_channel_initial=2, depth=2)
DEFAULTS = dict(
    image_size=SIZE,
    out_channels=3,
    out_kernel_initializer="glorot_uniform",
    out_activation=None,
)


def build(wrapped=LOCAL, **options):
    config = dict(name="meta_regularized", backbone=wrapped, **options)
    return REGISTRY.build_backbone(config, default_args=DEFAULTS)


def images(rng, size=SIZE, batch=2):
    return tf.constant(rng.normal(size=(batch, *size, 2)), tf.float32)


def pair(rng, size):
    """:return: moving and fixed input of a network."""
    return [tf.constant(rng.random((1, *size)), tf.float32) for _ in range(2)]


@pytest.fixture(scope="module")
def networks():
    """:return: gives the networks with and without a kernel, built once."""
    built = {}

    def network(wrapped):
        name = wrapped["name"]
        if name not in built:
            config = dict(
                name="meta_regularized", backbone=wrapped, parameterization="radial"
            )
            built[name] = [FieldNetwork("ddf", c, SIZE) for c in (config, wrapped)]
        return built[name]

    return network


# ---- what it predicts ----


@pytest.mark.parametrize("wrapped", [LOCAL, UNET])
def test_with_the_identity_it_predicts_as_the_bare_backbone_of_the_same_seed(
    rng, wrapped
):
    """The kernel is its only further weight, and draws no random numbers."""
    inputs = images(rng)
    tf.keras.utils.set_random_seed(3)
    bare = REGISTRY.build_backbone(wrapped, default_args=DEFAULTS)
    expected = bare(inputs)
    tf.keras.utils.set_random_seed(3)
    model = build(wrapped, initial_sigma_vox=0.0, parameterization="separable")
    found = model(inputs)
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    assert len(model.weights) == len(bare.weights) + 1
    (kernel,) = [v for v in model.weights if v is model.radial_conv.kernel_weights]
    assert kernel.name == "radial_conv/kernel:0" and kernel.shape == [4]


def test_the_kernel_acts_on_the_field_that_was_predicted(rng):
    """Twice the identity is twice the field."""
    model = build(parameterization="penalty", kernel_size=3, initial_sigma_vox=0.0)
    inputs = images(rng)
    before = model(inputs)
    model.radial_conv.kernel_weights.assign(2.0 * model.radial_conv.kernel())
    np.testing.assert_allclose(model(inputs), 2.0 * before, rtol=0, atol=1e-5)


def test_velocities_are_regularised_before_they_are_integrated(rng, monkeypatch):
    config = dict(name="meta_regularized", backbone=LOCAL, parameterization="radial")
    network = FieldNetwork("dvf", config, SIZE)
    randomize(network)
    monkeypatch.setattr(field_network, "integrate", lambda dvf: dvf**2 + 1.0)
    moving, fixed = pair(rng, SIZE)
    backbone = network.backbone
    velocity = backbone.wrapped(tf.stack([moving, fixed], axis=-1))
    expected = backbone.radial_conv(velocity) ** 2 + 1.0
    assert np.std(expected) > 0.01
    np.testing.assert_allclose(network(moving, fixed), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    "parameterization", ["penalty", "cholesky", "separable", "radial"]
)
def test_images_have_a_square_kernel_and_no_displacement_across(rng, parameterization):
    config = dict(
        name="meta_regularized", backbone=UNET, parameterization=parameterization
    )
    network = FieldNetwork("ddf", config, IMAGE)
    randomize(network)
    assert network.backbone.radial_conv.kernel().shape == (13, 13)
    found = network(*pair(rng, IMAGE)).numpy()
    assert found.shape == (1, *IMAGE, 3)
    np.testing.assert_array_equal(found[..., 2], 0)
    assert np.abs(found[..., :2]).min(axis=(0, 1, 2, 3)).max() > 0
    assert np.std(found[..., :2]) > 0.01


def test_the_kernel_is_float32_in_a_network_of_lower_precision(rng):
    config = dict(name="meta_regularized", backbone=UNET, parameterization="separable")
    network = FieldNetwork("ddf", config, SIZE, precision="mixed_bfloat16")
    randomize(network)
    fields = []
    network.backbone.radial_conv.call = lambda x: fields.append(x) or x
    network(*pair(rng, SIZE))
    assert fields[0].dtype == tf.float32
    assert network.backbone.radial_conv.kernel().dtype == tf.float32


# ---- its penalty ----


def test_a_network_hands_on_the_penalty_of_its_kernel():
    """Of a kernel of ones 3 x 3 x 3: four space diagonals of 3, and no asymmetry."""
    config = dict(
        name="meta_regularized",
        backbone=LOCAL,
        parameterization="penalty",
        kernel_size=3,
        rho2=0.5,
    )
    network = FieldNetwork("ddf", config, SIZE)
    network.backbone.radial_conv.kernel_weights.assign(tf.ones([3, 3, 3]))
    assert float(network.penalty()) == pytest.approx(-0.5 * 12)


@pytest.mark.parametrize("wrapped", [LOCAL, UNET])
def test_a_bare_backbone_has_no_penalty(networks, wrapped):
    regularized, bare = networks(wrapped)
    assert bare.penalty() is None
    assert float(regularized.penalty()) < 0  # a radial kernel has one for its trace


@pytest.mark.parametrize(
    "options", [dict(parameterization="separable"), dict(rho1=0, rho2=0)]
)
def test_where_nothing_is_penalised_there_is_no_penalty(options):
    assert build(**options).penalty() is None


def test_deepregs_own_methods_add_the_penalty_once(rng):
    """Whose loss is otherwise zero: images that are equal, and a field of zeros."""
    config = dict(
        method="ddf",
        backbone=dict(
            name="meta_regularized",
            backbone=UNET,
            parameterization="penalty",
            kernel_size=3,
            rho1=0.0,
            rho2=0.5,
        ),
        loss=dict(
            image=dict(name="ssd", weight=1.0),
            regularization=dict(name="bending", weight=1.0),
        ),
    )
    size = (10, 9, 8)
    model = REGISTRY.build_model(
        dict(
            name="ddf",
            moving_image_size=size,
            fixed_image_size=size,
            index_size=1,
            labeled=False,
            batch_size=2,
            config=config,
        )
    )
    model.compile(optimizer=tf.keras.optimizers.SGD(0.1), run_eagerly=True)
    (layer,) = [x for x in model.submodules if type(x).__name__ == "RadialConv"]
    before, penalty = layer.kernel().numpy(), float(layer.penalty())
    assert penalty < -0.1
    ones = np.ones([2, *size], np.float32)
    data = dict(moving_image=ones, fixed_image=ones, indices=np.zeros([2, 1]))
    history = model.fit(tf.data.Dataset.from_tensors(data), verbose=0).history
    # DeepReg warps zeros in at the border of a volume that nothing displaces
    own = sum(v[0] for k, v in history.items() if k.endswith("_weighted"))
    assert history["loss"][0] - own == pytest.approx(penalty, abs=1e-5)
    # the taps on the space diagonals rise by rate * rho2, that in the middle four times
    change = layer.kernel().numpy() - before
    assert change[0, 0, 0] == pytest.approx(0.05, abs=1e-6)
    assert change[1, 1, 1] == pytest.approx(0.2, abs=1e-6)
    assert change[0, 1, 1] == pytest.approx(0.0, abs=1e-6)


# ---- what it takes over from the wrapped one ----


@pytest.mark.parametrize("kind", ["batch", "moving"])
def test_training_differs_from_prediction_as_in_the_wrapped_one(kind):
    assert build({**LOCAL, "normalization": kind}).is_same_in_training == (
        kind == "batch"
    )
    assert not build(UNET).is_same_in_training  # DeepReg's does not say


@pytest.mark.parametrize("wrapped", [LOCAL, UNET])
@pytest.mark.parametrize("part", ["decoder", "heads"])
def test_the_parts_that_adapt_are_those_of_the_wrapped_one(networks, wrapped, part):
    """The kernel stands still, but when all adapts."""
    regularized, bare = networks(wrapped)
    found = select_part(regularized, part)
    expected = select_part(bare, part)
    shapes = [[tuple(v.shape) for v in p.variables] for p in (found, expected)]
    assert shapes[0] == shapes[1]
    kernel = regularized.backbone.radial_conv.kernel_weights
    assert all(variable is not kernel for variable in found.variables)
    everything = select_part(regularized, "all").variables
    assert any(variable is kernel for variable in everything)


def test_coarser_fields_are_those_of_the_wrapped_one(rng):
    """They supervise it; the kernel acts on the finest alone."""
    wrapped = dict(name="fcn_ss", num_channel_initial=2, side_weights=[0.5, 0.25])
    model = build(wrapped, kernel_size=3, initial_sigma_vox=0.0)
    assert model.side_weights == (0.5, 0.25) and build().side_weights == ()
    inputs = images(rng)
    model(inputs)
    model.radial_conv.kernel_weights.assign(2.0 * model.radial_conv.kernel())
    finest, *coarser = model.fields(inputs)
    np.testing.assert_allclose(finest, model(inputs), rtol=0, atol=1e-6)
    own = model.wrapped.fields(inputs)
    np.testing.assert_allclose(finest, 2.0 * own[0], rtol=0, atol=1e-5)
    assert len(coarser) == 2 and np.std(coarser[0]) > 0.01
    for found, expected in zip(coarser, own[1:], strict=True):
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)


def test_channels_are_those_of_the_wrapped_one():
    """They may stand in either section; that of the wrapped one wins."""
    bare = {key: value for key, value in LOCAL.items() if key != "num_channel_initial"}
    assert build().num_channel_initial == 2
    assert build(bare, num_channel_initial=4).num_channel_initial == 4
    assert build(LOCAL, num_channel_initial=4).num_channel_initial == 2


# ---- configuration and checkpoints ----


def test_the_configuration_comes_back(rng):
    """As plain values, which a YAML file takes; the given one is left as it was."""
    given = dict(LOCAL)
    model = build(
        given, kernel_size=5, parameterization="radial", border="zero", rho2=0.5
    )
    given["extract_levels"] = [0]
    config = yaml.safe_load(yaml.safe_dump(model.get_config() | dict(image_size=None)))
    assert config["backbone"] == LOCAL
    assert (config["kernel_size"], config["border"], config["rho2"]) == (5, "zero", 0.5)
    again = MetaRegularized(**config | dict(image_size=SIZE))
    inputs = images(rng)
    model(inputs), again(inputs)
    assert again.get_config() == model.get_config()
    for source, target in zip(model.weights, again.weights, strict=True):
        target.assign(source)
    np.testing.assert_array_equal(again(inputs), model(inputs))


def test_a_checkpoint_brings_network_and_kernel_back(rng, tmp_path):
    wrapped = {**LOCAL, "normalization": "none"}  # no averages that a call moves
    config = dict(name="meta_regularized", backbone=wrapped, parameterization="penalty")
    network = FieldNetwork("ddf", config, SIZE)
    randomize(network)
    path = tf.train.Checkpoint(network=network).write(str(tmp_path / "ckpt"))
    again = FieldNetwork("ddf", config, SIZE)
    inputs = pair(rng, SIZE)
    assert np.abs(again(*inputs) - network(*inputs)).max() > 0.01
    tf.train.Checkpoint(network=again).read(path).assert_consumed()
    assert_same_bits(values(again.weights), values(network.weights))
    np.testing.assert_array_equal(again(*inputs), network(*inputs))


@pytest.mark.parametrize(
    ("wrapped", "options", "message"),
    [
        (None, {}, r"train.backbone.backbone: expected a mapping with the name of a"),
        (dict(depth=2), {}, r"train.backbone.backbone: .* got \{'depth': 2\}"),
        (
            dict(name="unet_transpose"),
            {},
            "train.backbone.backbone.name: expected a registered backbone .* got "
            "'unet_transpose'. Did you mean `unet_transposed`?",
        ),
        (dict(name="xyz"), {}, r"backbone.name: .* got 'xyz'\.$"),
        (dict(name="meta_regularised"), {}, r"name: .* got 'meta_regularised'\.$"),
        (dict(name="identity"), {}, "other than identity and meta_reg.*got 'identity'"),
        (dict(name="meta_regularized"), {}, "backbone.name: .* other than .*meta_reg"),
        (
            dict(name="global", num_channel_initial=2, extract_levels=[1]),
            {},
            "a backbone that predicts a field, got 'global', which predicts an affine",
        ),
        (
            LOCAL,
            dict(rho1=-1),
            "train.backbone.rho1: expected null or a number >= 0, got -1",
        ),
        (LOCAL, dict(kernel_size=6), "train.backbone.kernel_size: .* got 6"),
        (LOCAL, dict(kernel_size=999), "train.backbone.kernel_size: .* got 999"),
        (LOCAL, dict(parameterization="cholesky"), "train.backbone.parameterization: "),
        (LOCAL, dict(depth=3), "train.backbone.depth: expected no such key .* got 3"),
    ],
)
def test_impossible_configurations_are_refused(wrapped, options, message):
    with pytest.raises(ValueError, match=message):
        build(wrapped, **options)


def test_a_model_without_a_field_is_refused():
    with pytest.raises(ValueError, match="asks for a field of 3 channels, got 1"):
        MetaRegularized(image_size=SIZE, out_channels=1, backbone=LOCAL)
