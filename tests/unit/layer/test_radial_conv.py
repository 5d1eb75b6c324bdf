"""Tests of deepreg_meta/layer/radial_conv.py; reference: SciPy."""

import json

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from deepreg_meta.layer.radial_conv import MAX_SIZES, RadialConv

IMAGE, VOLUME = (9, 8, 1), (6, 7, 5)
CASES = [
    *((name, IMAGE) for name in ("penalty", "cholesky", "separable", "radial")),
    *((name, VOLUME) for name in ("penalty", "separable", "radial")),
]
# symmetric about both diagonals, and changed by flips and quarter turns
COUNTEREXAMPLE = np.array([[1.0, 0, 2], [0, 3, 0], [2, 0, 1]])


def field(rng, size, batch=2, dtype=tf.float32):
    return tf.constant(rng.normal(0.0, 2.0, (batch, *size, 3)), dtype)


def layer_of(rng, parameterization, size, kernel_size=5, **options):
    """:return: a built layer with random weights."""
    layer = RadialConv(parameterization, kernel_size, **options)
    layer.build([None, *size, 3])
    shape = layer.kernel_weights.shape
    layer.kernel_weights.assign(rng.normal(0.0, 0.3, shape))
    return layer


def convolved(ddf, kernel, mode):
    """:return: each component of each field, convolved by SciPy."""
    result = np.empty(ddf.shape)
    for index in np.ndindex(ddf.shape[0], 3):
        component = ddf.numpy()[(index[0], ..., index[1])]
        result[(index[0], ..., index[1])] = ndimage.convolve(
            component, kernel, mode=mode
        )
    return result


# ---- what it computes ----


@pytest.mark.parametrize(("parameterization", "size"), CASES)
@pytest.mark.parametrize(
    ("border", "scipy"), [("edge", "nearest"), ("zero", "constant")]
)
def test_each_component_is_convolved_with_the_kernel(
    mode, rng, parameterization, size, border, scipy
):
    layer = layer_of(rng, parameterization, size, border=border)
    ddf = field(rng, size)
    found = mode(lambda x: layer(x))(ddf)
    kernel = layer.kernel().numpy()
    assert kernel.shape == ((5, 5) if size == IMAGE else (5, 5, 5))
    if size == IMAGE:
        expected = convolved(ddf, kernel[..., None], scipy)
        expected[..., 2] = ddf[..., 2]
    else:
        expected = convolved(ddf, kernel, scipy)
    assert found.dtype == tf.float32 and found.shape == ddf.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-5)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("parameterization", ["penalty", "separable"])
def test_an_image_may_lie_across_any_axis(rng, axis, parameterization):
    """The kernel does too, and the component along the singleton axis is left alone."""
    layer = layer_of(rng, parameterization, IMAGE)
    ddf = field(rng, IMAGE)
    expected = np.moveaxis(layer(ddf).numpy(), 3, axis + 1)
    moved = tf.constant(np.moveaxis(ddf.numpy(), 3, axis + 1))
    other = RadialConv(parameterization, 5)
    other.build(moved.shape)
    other.kernel_weights.assign(layer.kernel_weights)
    along = [a for a in range(3) if a != axis]
    ordered = tf.gather(moved, np.argsort([*along, axis]), axis=-1)
    found = tf.gather(other(ordered), [*along, axis], axis=-1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(other(ordered)[..., axis], ordered[..., axis])
    assert np.abs(other(ordered) - ordered)[..., along].max() > 0.1


@pytest.mark.parametrize(("parameterization", "size"), CASES)
@pytest.mark.parametrize("border", ["edge", "zero"])
def test_the_identity_kernel_leaves_the_field(rng, parameterization, size, border):
    layer = RadialConv(parameterization, 5, border, initial_sigma_vox=0.0)
    ddf = field(rng, size)
    layer(ddf)
    if parameterization == "cholesky":  # U with a single 1, in the middle
        upper = np.zeros([5, 5])
        upper[2, 2] = 1.0
        layer.kernel_weights.assign(upper[np.triu_indices(5)])
    np.testing.assert_allclose(layer(ddf), ddf, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("parameterization", "size"), CASES)
def test_it_starts_near_the_identity_and_leaves_constant_fields(
    rng, parameterization, size
):
    """Nine tenths in the middle along each axis, at least; what is flat stays flat."""
    layer = RadialConv(parameterization)
    constant = tf.constant([2.0, -3.0, 0.0]) * tf.ones([1, *size, 3])
    np.testing.assert_allclose(layer(constant), constant, rtol=0, atol=1e-5)
    kernel = layer.kernel().numpy()
    size_of_kernel = 13 if size == IMAGE else 7
    assert kernel.shape == (size_of_kernel,) * kernel.ndim
    middle = kernel[(size_of_kernel // 2,) * kernel.ndim]
    assert 0.9**kernel.ndim < middle < 1
    again = RadialConv(parameterization)
    again(constant)
    np.testing.assert_array_equal(again.kernel_weights, layer.kernel_weights)


def test_it_draws_no_random_numbers(rng):
    """So the weights of the network around it are those that it has without."""
    drawn = []
    for is_built in (False, True):
        tf.keras.utils.set_random_seed(4)
        if is_built:
            RadialConv("penalty")(field(rng, IMAGE))
        dense = tf.keras.layers.Dense(3)
        dense.build([None, 2])
        drawn.append(dense.kernel.numpy())
    np.testing.assert_array_equal(*drawn)


# ---- symmetries ----


def turns(num_axes):
    """:return: flips and quarter turns of grids, as functions of fields."""
    axes = range(1, num_axes + 1)
    pairs = [(a, b) for a in axes for b in axes if a < b]
    flips = [lambda x, a=a: np.flip(x, a) for a in axes]
    return flips + [lambda x, p=p: np.rot90(x, axes=p) for p in pairs]


@pytest.mark.parametrize("parameterization", ["separable", "radial"])
@pytest.mark.parametrize(("size", "num_axes"), [((9, 9, 1), 2), ((6, 6, 6), 3)])
@pytest.mark.parametrize("border", ["edge", "zero"])
def test_hard_constrained_kernels_commute_with_flips_and_quarter_turns(
    rng, parameterization, size, num_axes, border
):
    layer = layer_of(rng, parameterization, size, border=border)
    ddf = field(rng, size).numpy()
    for turn in turns(num_axes):
        turned = layer(tf.constant(turn(ddf).copy()))
        expected = turn(layer(tf.constant(ddf)).numpy())
        np.testing.assert_allclose(turned, expected, rtol=0, atol=3e-5)


def test_a_kernel_with_zero_penalty_need_not_commute(rng):
    """Equation 12 asks for symmetry about both diagonals, and for no more."""
    layer = RadialConv("penalty", 3, rho1=10.0, rho2=0.0)
    ddf = field(rng, (9, 9, 1)).numpy()
    layer(tf.constant(ddf))
    layer.kernel_weights.assign(COUNTEREXAMPLE)
    assert float(layer.penalty()) == 0.0
    for turn in turns(2):
        turned = layer(tf.constant(turn(ddf).copy())).numpy()
        expected = turn(layer(tf.constant(ddf)).numpy())
        assert np.abs(turned - expected)[..., :2].max() > 1


# ---- the penalty ----


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # of 1 to 9: symmetry 288, trace 15 + 15, l1 of the diagonal 15
        (dict(rho1=1.0, rho2=0.0), 288.0),
        (dict(rho1=0.0, rho2=0.5), -15.0),
        (dict(rho1=0.5, rho2=2.0, diagonal_l1=0.1), 144.0 - 60.0 + 1.5),
        (dict(rho1=0.0, rho2=2.0, trace_limit=4.0), -8.0),
        (dict(rho1=0.0, rho2=2.0, trace_limit=40.0), -60.0),
        ({}, 2880.0 - 0.03),  # the defaults, 10 and 1e-3
    ],
)
def test_the_penalty_is_the_weighted_sum_of_its_parts(options, expected):
    layer = RadialConv("penalty", 3, **options)
    layer.build([None, *IMAGE, 3])
    layer.kernel_weights.assign(np.arange(1.0, 10).reshape(3, 3))
    assert float(layer.penalty()) == pytest.approx(expected, rel=1e-6)


def test_a_trace_beyond_its_limit_is_rewarded_no_more():
    """A limit of 0 is a hinge: only a negative trace costs, and moves the kernel."""
    layer = RadialConv("penalty", 3, rho1=0.0, rho2=2.0, trace_limit=0.0)
    layer.build([None, *IMAGE, 3])
    for middle, cost, slope in ((1.5, 0.0, 0.0), (-1.5, 6.0, -4.0)):
        kernel = np.zeros([3, 3])
        kernel[1, 1] = middle  # on both diagonals: a trace of twice as much
        layer.kernel_weights.assign(kernel)
        with tf.GradientTape() as tape:
            penalty = layer.penalty()
        assert float(penalty) == pytest.approx(cost)
        gradient = tape.gradient(penalty, layer.kernel_weights)
        assert float(gradient[1, 1]) == pytest.approx(slope)


def test_what_holds_by_construction_has_no_weight_unless_asked_for(rng):
    """Symmetry of separable and radial, the trace of separable and cholesky."""
    expected = dict(
        penalty=(10.0, 1e-3),
        cholesky=(10.0, 0.0),
        separable=(0.0, 0.0),
        radial=(0.0, 1e-3),
    )
    for name, weights in expected.items():
        layer = RadialConv(name)
        assert (layer.rho1, layer.rho2) == weights
        assert layer.has_penalty == any(weights)
    assert RadialConv("separable", rho2=0.1).has_penalty
    assert RadialConv("separable", diagonal_l1=0.1).has_penalty


@pytest.mark.parametrize(("parameterization", "size"), CASES)
def test_the_deviation_from_symmetry_is_zero_by_construction(
    rng, parameterization, size
):
    """But of a free kernel; and U U^T is symmetric about one diagonal only."""
    layer = layer_of(rng, parameterization, size)
    deviation = float(layer.penalty_parts().symmetry)
    if parameterization in ("separable", "radial"):
        assert deviation < 1e-12
    else:
        assert deviation > 0.1
    if parameterization == "cholesky":
        kernel = layer.kernel().numpy()
        np.testing.assert_allclose(kernel, kernel.T, rtol=0, atol=1e-6)


def test_keras_adds_the_penalty_once_and_anew(rng):
    """However often it is called; nothing where no part counts."""
    layer = layer_of(rng, "penalty", IMAGE)
    ddf = field(rng, IMAGE)
    for _ in range(2):
        layer(ddf)
        layer.kernel_weights.assign_add(tf.ones([5, 5]) * rng.normal())
        (loss,) = layer.losses
        np.testing.assert_allclose(loss, layer.penalty(), rtol=1e-6)
    free = layer_of(rng, "separable", IMAGE)
    free(ddf)
    assert free.losses == []


# ---- as a layer ----


@pytest.mark.parametrize(("parameterization", "size"), CASES)
def test_gradients_are_those_of_differences(rng, parameterization, size):
    """Of the field and the penalty, to the field and to the weights, in float64."""
    small = (4, 4, 1) if size == IMAGE else (3, 3, 3)
    options = dict(dtype="float64", rho1=0.5, rho2=0.3, diagonal_l1=0.2)
    layer = layer_of(rng, parameterization, small, 3, **options)
    ddf = field(rng, small, 1, tf.float64)
    start = rng.uniform(0.5, 1.0, layer.kernel_weights.shape)
    layer.kernel_weights.assign(start)

    def value(fields, weights):
        layer.kernel_weights.assign(weights)
        return float(tf.reduce_sum(layer(fields) ** 3) + layer.penalty())

    with tf.GradientTape() as tape:
        tape.watch(ddf)
        total = tf.reduce_sum(layer(ddf) ** 3) + layer.penalty()
    ours = tape.gradient(total, [ddf, layer.kernel_weights])
    ours = [tf.convert_to_tensor(gradient).numpy() for gradient in ours]
    for place, which in ((0, ddf.numpy()), (1, start)):
        direction = rng.normal(size=which.shape)
        values = []
        for step in (1e-5, -1e-5):
            operands = [ddf, start]
            operands[place] = which + step * direction
            values.append(value(tf.constant(operands[0]), operands[1]))
        numerical = (values[0] - values[1]) / 2e-5
        assert abs(numerical) > 0.1
        found = np.sum(ours[place] * direction)
        assert found == pytest.approx(numerical, rel=1e-6)


def test_it_computes_in_float32_under_any_policy(rng):
    before = tf.keras.mixed_precision.global_policy()
    tf.keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        layer = RadialConv("separable", 5)
        output = layer(tf.cast(field(rng, IMAGE), tf.bfloat16))
    finally:
        tf.keras.mixed_precision.set_global_policy(before)
    assert output.dtype == layer.kernel_weights.dtype == tf.float32


def test_the_configuration_comes_back(rng):
    options = dict(
        kernel_size=5,
        border="zero",
        rho1=0.5,
        rho2=0.25,
        diagonal_l1=2.0,
        trace_limit=-1.0,
        initial_sigma_vox=0.7,
    )
    layer = RadialConv("radial", **options, name="other")
    config = layer.get_config()
    assert {name: config[name] for name in options} == options
    again = RadialConv.from_config(config)
    assert again.get_config() == config
    ddf = field(rng, IMAGE)
    np.testing.assert_array_equal(again(ddf), layer(ddf))


def test_a_checkpoint_brings_the_kernel_back(rng, tmp_path):
    layer = layer_of(rng, "radial", VOLUME)
    path = tf.train.Checkpoint(layer=layer).write(str(tmp_path / "ckpt"))
    again = RadialConv("radial", 5)
    ddf = field(rng, VOLUME)
    assert np.abs(again(ddf) - layer(ddf)).max() > 0.1
    tf.train.Checkpoint(layer=again).read(path).assert_consumed()
    np.testing.assert_array_equal(again(ddf), layer(ddf))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(parameterization="free"), "parameterization: expected one of penalty, "
         "cholesky, separable, radial, got 'free'"),
        (dict(border="wrap"), "border: expected one of edge, zero, got 'wrap'"),
        (dict(kernel_size=4), "kernel_size: .* null or an odd integer >= 3, got 4"),
        (dict(kernel_size=1), "kernel_size: .* got 1"),
        (dict(kernel_size=True), "kernel_size: .* got True"),
        (dict(rho1=-1), "rho1: expected null or a number >= 0, got -1"),
        (dict(rho2="1e-3"), "rho2: expected null or a number >= 0, got '1e-3'"),
        (dict(diagonal_l1=float("nan")), "diagonal_l1: .* got nan"),
        (dict(initial_sigma_vox=-0.1), "initial_sigma_vox: expected .*>= 0, got -0.1"),
        (dict(trace_limit="none"), "trace_limit: expected null or a number, got 'non"),
    ],
)  # fmt: skip
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        RadialConv(**arguments)


def test_numbers_of_numpy_are_numbers():
    layer = RadialConv("radial", kernel_size=np.int64(5), rho2=np.float32(0.5))
    assert layer.kernel_size == 5 and layer.rho2 == 0.5
    assert json.dumps(layer.get_config()["kernel_size"]) == "5"


@pytest.mark.parametrize(
    ("parameterization", "shape", "message"),
    [
        ("penalty", (1, 4, 4, 1, 2), r"expected a field \(batch, d1, d2, d3, 3\), got"),
        ("penalty", (1, 4, None, 1, 3), "expected a field"),
        ("penalty", (1, 4, 1, 1, 3), "kernel_size: expected a field with several"),
        ("cholesky", (1, 4, 4, 4, 3), "expected penalty, .* for volumes, got 'cholesk"),
    ],
)
def test_fields_that_it_cannot_take_are_refused(parameterization, shape, message):
    with pytest.raises(ValueError, match=message):
        RadialConv(parameterization).build(shape)


@pytest.mark.parametrize(("parameterization", "size"), CASES)
def test_kernels_that_would_fill_the_memory_are_refused(parameterization, size):
    """Before anything is made of them: U U^T of 999 x 999 taps would take terabytes."""
    most, kind = (63, "images") if size == IMAGE else (31, "volumes")
    rule = rf"kernel_size: expected an odd integer in \[3, {most}\] for {kind}"
    for given in (most + 2, 999):
        layer = RadialConv(parameterization, kernel_size=given)
        with pytest.raises(ValueError, match=f"{rule}, got {given}"):
            layer.build([None, *size, 3])


@pytest.mark.parametrize(
    ("parameterization", "size"), [("cholesky", IMAGE), ("radial", VOLUME)]
)
def test_the_largest_kernels_are_built(parameterization, size):
    """Of the forms whose weights are laid out on their taps by a matrix."""
    most = MAX_SIZES[sum(side > 1 for side in size)]
    layer = RadialConv(parameterization, kernel_size=most)
    layer.build([None, *size, 3])
    kernel = layer.kernel().numpy()
    assert kernel.shape == (most,) * kernel.ndim
    assert kernel.sum() == pytest.approx(1.0, abs=1e-5)
