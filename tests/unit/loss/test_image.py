"""Tests of the local correlation; references: DeepReg's, and NumPy by windows."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from deepreg.loss.image import LocalNormalizedCrossCorrelationLoss
from deepreg.registry import REGISTRY

from deepreg_meta.loss import kernel
from deepreg_meta.loss.image import (
    EPS,
    KERNEL_TYPES,
    LEAST_NOISE,
    LocalNcc,
    window_profile,
)

SIZE = (6, 7, 8)
WRAPPERS = {
    "eager": lambda function: function,
    "tf.function": tf.function,
    "XLA": tf.function(jit_compile=True),
}


@pytest.fixture(params=WRAPPERS)
def wrap(request):
    """:return: what makes a graph or a kernel of a function, or leaves it."""
    return WRAPPERS[request.param]


def images(rng, batch=2, size=SIZE, dtype=tf.float32):
    """:return: two images that have something in common, (batch, d1, d2, d3)."""
    fixed = rng.random((batch, *size))
    warped = 0.5 * fixed + 0.5 * rng.random((batch, *size))
    return tf.constant(fixed, dtype), tf.constant(warped, dtype)


def value_and_gradients(loss, fixed, warped):
    """:return: the loss and its gradients by both images."""
    with tf.GradientTape() as tape:
        tape.watch([fixed, warped])
        value = loss(fixed, warped)
    return value, *tape.gradient(value, [fixed, warped])


def numpy_ncc(fixed, warped, kernel_size, kernel_type, mask=None, noise=0.0):
    """
    Compute the loss window by window, as weighted covariances in float64.

    :return: the mean; of voxels off the mask nothing counts, not even that they are 0.
    """
    mask = np.ones(fixed.shape) if mask is None else mask
    first = (kernel_size - 1) // 2
    profiles, pads = [], []
    for length in fixed.shape:
        flat = length == 1
        profiles.append(
            np.ones(1) if flat else window_profile(kernel_size, kernel_type)
        )
        pads.append((0, 0) if flat else (first, kernel_size - 1 - first))
    weights = np.einsum("i,j,k->ijk", *profiles)
    padded = [np.pad(np.asarray(x, np.float64), pads) for x in (fixed, warped)]
    inside = np.pad(mask, pads, constant_values=1)
    values = []
    for start in itertools.product(*map(range, fixed.shape)):
        window = tuple(
            slice(i, i + n) for i, n in zip(start, weights.shape, strict=True)
        )
        own = weights * inside[window]
        if not own.any():
            values.append(1.0)
            continue
        a, b = (x[window] - np.average(x[window], weights=own) for x in padded)
        cross = np.sum(own * a * b)
        if noise:
            c, t, p = (np.average(x, weights=own) for x in (a * b, a * a, b * b))
            least = noise**2
            values.append((c**2 + least**2) / ((t + least) * (p + least)))
            continue
        spread = np.sum(own * a * a) * np.sum(own * b * b)
        lost = np.ptp(b) < 1e-12 < np.ptp(a)  # of the warped image one value is left
        values.append((cross**2 + (0.0 if lost else EPS)) / (spread + EPS))
    return -np.mean(values)


@pytest.mark.parametrize("kernel_size", [2, 3, 4, 9])
def test_value_and_gradients_equal_deepregs(wrap, rng, kernel_size):
    """By both images; of even windows, and of windows larger than the volume too."""
    pair = images(rng)
    theirs = LocalNormalizedCrossCorrelationLoss(kernel_size=kernel_size)
    found = value_and_gradients(wrap(LocalNcc(kernel_size)), *pair)
    exact = [tf.cast(x, tf.float64) for x in pair]
    for reference in (value_and_gradients(theirs, *x) for x in (pair, exact)):
        assert -2.0 < reference[0].numpy() < -0.1  # a sum over the batch of two
        np.testing.assert_allclose(found[0], reference[0], rtol=1e-5)
        for ours, own in zip(found[1:], reference[1:], strict=True):
            scale = np.max(np.abs(own))
            np.testing.assert_allclose(ours, own, rtol=1e-5, atol=1e-5 * scale)


def test_a_value_worked_out_by_hand():
    """
    One line, windows of three, the images spots at neighbouring voxels.

    The fixed spot is in the windows 0 to 2, the warped one in 1 to 3. Each gives the
    variance 1 - 1/3 there, their covariance in windows 1 and 2 is -1/3: (1/3)^2 over
    (2/3)^2 makes 1/4. Where the fixed image has no spot the window is perfect, 1; where
    only the warped one has none it is worth 0.
    """
    fixed, warped = np.zeros((2, 1, 1, 4, 1), np.float32)
    fixed[0, 0, 1], warped[0, 0, 2] = 1.0, 1.0
    value = LocalNcc(3)(tf.constant(fixed), tf.constant(warped))
    assert value.numpy() == pytest.approx(-(0 + 1 / 4 + 1 / 4 + 1) / 4, rel=1e-5)


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("kernel_type", ["rectangular", "triangular", "gaussian"])
@pytest.mark.parametrize("kernel_size", [3, 4])
@pytest.mark.parametrize("size", [(4, 5, 6), (1, 5, 6), (5, 1, 6), (5, 6, 1)])
def test_it_is_the_mean_of_weighted_correlations(
    rng, size, kernel_size, kernel_type, noise
):
    """By NumPy; along a singleton axis there is no window."""
    fixed, warped = images(rng, 1, size)
    loss = LocalNcc(kernel_size, kernel_type, noise)
    expected = numpy_ncc(fixed[0], warped[0], kernel_size, kernel_type, noise=noise)
    assert -0.99 < expected < -0.1
    np.testing.assert_allclose(loss(fixed, warped), expected, rtol=1e-5)


def test_the_weights_of_windows_by_hand():
    np.testing.assert_array_equal(window_profile(4, "rectangular"), [1, 1, 1, 1])
    triangle = [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3]
    np.testing.assert_allclose(window_profile(5, "triangular"), triangle)
    np.testing.assert_array_equal(window_profile(4, "triangular"), [0.5, 1, 1, 0.5])
    # one voxel from the middle is one standard deviation of 3 / 3
    edge = np.exp(-0.5)
    np.testing.assert_allclose(window_profile(3, "gaussian"), [edge, 1, edge])


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("kernel_type", ["rectangular", "gaussian"])
@pytest.mark.parametrize("size", [(3, 4, 5), (4, 5, 1)])
def test_the_gradients_are_those_of_differences_in_float64(
    rng, size, kernel_type, noise
):
    pair = images(rng, 2, size, tf.float64)
    function = tf.function(LocalNcc(3, kernel_type, noise))
    ours, numerical = tf.test.compute_gradient(function, pair, delta=1e-5)
    for got, expected in zip(ours, numerical, strict=True):
        assert np.abs(expected).max() > 1e-2
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-8)


def masks(rng, size, dtype=tf.float32):
    """:return: two masks, one of scattered voxels and one that windows miss."""
    mask = (rng.random((2, *size)) < 0.5).astype(float)
    mask[1] = 0.0
    mask[1, 1:2, 1:] = 1.0
    return tf.constant(mask, dtype)


def within(loss):
    """:return: the loss of two images and a mask."""
    return lambda t, p, mask: loss.evaluate(loss.prepare(t, mask), p * mask)


WINDOWS = list(itertools.product([(5, 6, 7), (5, 6, 1)], [3, 4], KERNEL_TYPES))


@pytest.mark.parametrize(
    ("name", "size", "kernel_size", "kernel_type", "noise"),
    [
        *(("eager", *window, 0.0) for window in WINDOWS),
        *(("eager", *window, 0.1) for window in WINDOWS[:3]),
        ("eager", *WINDOWS[0], LEAST_NOISE),
        ("tf.function", (5, 6, 7), 4, "triangular", 0.0),
        ("XLA", (5, 6, 7), 4, "gaussian", 0.1),
        ("XLA", (5, 6, 1), 3, "rectangular", 0.0),
    ],
)
def test_within_a_mask_its_voxels_alone_are_correlated(
    rng, name, size, kernel_size, kernel_type, noise
):
    """By NumPy; what lies off the mask changes neither value nor gradient."""
    pair, mask = images(rng, 2, size), masks(rng, size)
    function = WRAPPERS[name](within(LocalNcc(kernel_size, kernel_type, noise)))
    expected = [
        numpy_ncc(t, p, kernel_size, kernel_type, m.numpy(), noise)
        for t, p, m in zip(*pair, mask, strict=True)
    ]
    found = value_and_gradients(lambda t, p: function(t, p, mask), *pair)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4)
    others = [
        tf.where(mask > 0, x, y)
        for x, y in zip(pair, images(rng, 2, size), strict=True)
    ]
    again = value_and_gradients(lambda t, p: function(t, p, mask), *others)
    for a, b in zip(found, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert np.abs(found[2]).max() > 1e-3


@pytest.mark.parametrize("noise", [0.0, 0.1])
@pytest.mark.parametrize("kernel_type", ["rectangular", "gaussian"])
@pytest.mark.parametrize("size", [(3, 4, 5), (4, 5, 1)])
def test_the_gradients_within_a_mask_are_those_of_differences(
    rng, size, kernel_type, noise
):
    """Of both images, in float64."""
    pair, mask = images(rng, 2, size, tf.float64), masks(rng, size, tf.float64)
    function = tf.function(within(LocalNcc(3, kernel_type, noise)))
    ours, numerical = tf.test.compute_gradient(
        lambda t, p: tf.reduce_sum(function(t, p, mask)), pair, delta=1e-5
    )
    for got, expected in zip(ours, numerical, strict=True):
        assert np.abs(expected).max() > 1e-2
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("kernel_type", ["rectangular", "triangular", "gaussian"])
def test_a_mask_of_ones_changes_nothing_and_none_costs_nothing(rng, kernel_type):
    """At the border too; without a mask the weight of a window is a number."""
    fixed, warped = images(rng)
    loss = LocalNcc(5, kernel_type)
    ones = tf.ones_like(fixed)
    assert loss.prepare(fixed).weight is None
    whole = value_and_gradients(
        lambda t, p: loss.evaluate(loss.prepare(t), p), fixed, warped
    )
    found = value_and_gradients(lambda t, p: within(loss)(t, p, ones), fixed, warped)
    for a, b in zip(found, whole, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_one_value_per_sample_is_that_of_the_sample_alone(rng):
    """With a batch of any size in one graph, too."""
    fixed, warped = images(rng, 3)
    loss = LocalNcc(3)
    signature = [tf.TensorSpec([None, *SIZE])] * 2
    function = tf.function(
        lambda t, p: loss.evaluate(loss.prepare(t), p), input_signature=signature
    )
    together = function(fixed, warped)
    assert np.ptp(together) > 1e-3
    for i in range(3):
        alone = function(fixed[i : i + 1], warped[i : i + 1])
        np.testing.assert_allclose(together[i], alone[0], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "kernel_type"),
    [("eager", "rectangular"), *((name, "gaussian") for name in WRAPPERS)],
)
def test_sums_that_are_split_for_gpus_change_nothing(
    rng, monkeypatch, name, kernel_type
):
    """Value and gradients, on a CPU with a GPU made up: with and without a mask."""
    pair, mask = images(rng), masks(rng, SIZE)
    loss = LocalNcc(3, kernel_type)
    functions = [loss, lambda t, p: within(loss)(t, p, mask)]
    plain = [value_and_gradients(function, *pair) for function in functions]
    monkeypatch.setattr(kernel, "multiplies_in_tf32", lambda dtype: True)
    for function, expected in zip(functions, plain, strict=True):
        wrapped = WRAPPERS[name](lambda t, p, f=function: f(t, p))
        found = value_and_gradients(wrapped, *pair)
        for a, b in zip(found, expected, strict=True):
            scale = np.max(np.abs(b))
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4 * scale)


def test_intensities_in_another_scale_change_nothing(rng):
    """Nor does a contrast turned upside down: the correlation is squared."""
    fixed, warped = images(rng)
    value = LocalNcc(3)(fixed, warped)
    for factor in (-1.0, 10.0):
        np.testing.assert_allclose(LocalNcc(3)(fixed, factor * warped), value, 1e-4)


def test_nothing_is_won_by_moving_everything_out_of_the_image():
    """By DeepReg's loss it is: an image of zeros fits as well as the image itself."""
    inner = np.random.default_rng(0).random((1, 8, 8, 8)).astype(np.float32)
    fixed = tf.constant(np.pad(inner, [(0, 0), (2, 2), (2, 2), (2, 2)]))
    gone = tf.zeros_like(fixed)
    theirs = LocalNormalizedCrossCorrelationLoss(kernel_size=3)
    assert float(theirs(fixed, gone)) == pytest.approx(-1.0, abs=1e-3)
    loss = LocalNcc(3)
    assert float(loss(fixed, fixed)) == pytest.approx(-1.0, abs=1e-3)
    # perfect are the windows at the corners and edges alone, which see no image
    sees = np.mean(np.asarray(loss.sees(tf.cast(fixed > 0, tf.float32))))
    assert float(loss(fixed, gone)) == pytest.approx(-(1 - sees), abs=1e-6)
    assert float(loss(gone, fixed)) == pytest.approx(-1.0, abs=1e-6)  # nothing to see


def test_a_value_with_noise_worked_out_by_hand():
    """
    The spots of above, with noise of the variance 1/9 (the deviation is 1/3).

    Where a window shows a spot, the variance is 2/9 (of three voxels: 1/3 - 1/9), the
    covariance of two spots -1/9. The windows: the fixed spot alone, (1/9) / (2/9 +
    1/9); both, twice, (1/81 + 1/81) / (3/9)^2; the warped spot alone, as the fixed one.
    """
    fixed, warped = np.zeros((2, 1, 1, 4, 1), np.float32)
    fixed[0, 0, 1], warped[0, 0, 2] = 1.0, 1.0
    value = LocalNcc(3, noise=1 / 3)(tf.constant(fixed), tf.constant(warped))
    assert value.numpy() == pytest.approx(-(2 / 3 + 2 * 2 / 9) / 4, rel=1e-5)


def edge(shift, seed=0):
    """:return: padding beside noise, which is pulled over it by part of a voxel."""
    inner = np.random.default_rng(seed).random((6, 6, 6))
    image = np.pad(inner, [(4, 4), (0, 0), (0, 0)])
    return tf.constant((1 - shift) * image + shift * np.roll(image, 1, axis=0))[None]


def test_with_noise_the_loss_does_not_jump_at_the_edge_of_padding():
    """By a displacement of a hundred-thousandth of a voxel; without noise it does."""
    fixed, still, moved = edge(0.9, seed=1), edge(0.0), edge(1e-5)

    def steepest(loss):
        shifts = (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)
        found = [value_and_gradients(loss, fixed, edge(x))[2] for x in shifts]
        return max(float(np.abs(gradient).max()) for gradient in found)

    plain, loss = LocalNcc(3), LocalNcc(3, noise=0.05)
    assert abs(float(plain(fixed, moved) - plain(fixed, still))) > 1e-3
    assert abs(float(loss(fixed, moved) - loss(fixed, still))) < 1e-5
    assert steepest(plain) > 100 * steepest(loss) > 0


def test_with_noise_flat_windows_are_alike_and_others_are_not():
    flat, other = tf.zeros([1, *SIZE]), images(np.random.default_rng(0), 1)[0]
    loss = LocalNcc(3, noise=0.1)
    assert float(loss(flat, flat)) == pytest.approx(-1.0)
    for pair in ((flat, other), (other, flat)):
        assert -0.2 < float(loss(*pair)) < 0.0
    # next to contrast of this kind, such noise is nothing
    plain = float(LocalNcc(3)(other, other**2))
    assert float(LocalNcc(3, noise=1e-3)(other, other**2)) == pytest.approx(plain, 1e-3)


def test_grey_areas_are_what_float64_says_whatever_rounding_leaves(wrap, rng):
    """Where DeepReg's variances of rounding make something of them."""
    fixed, _ = images(rng, 1, (8, 8, 8))
    warped = np.full((1, 8, 8, 8), 0.7, np.float32)
    warped[:, 6:] = rng.random((1, 2, 8, 8))
    warped = tf.constant(warped)
    expected = numpy_ncc(fixed[0], warped[0], 3, "rectangular")
    theirs = LocalNormalizedCrossCorrelationLoss(kernel_size=3)(fixed, warped)
    assert abs(float(theirs) - expected) > 1e-3
    found = value_and_gradients(wrap(LocalNcc(3)), fixed, warped)
    np.testing.assert_allclose(found[0], expected, rtol=1e-5)
    exact = [tf.cast(x, tf.float64) for x in (fixed, warped)]
    gradient = value_and_gradients(LocalNcc(3), *exact)[2]
    np.testing.assert_allclose(found[2], gradient, rtol=1e-3, atol=1e-7)
    # the windows around these voxels see one grey value, which is worth nothing
    np.testing.assert_array_equal(found[2][:, 2:4, 2:6, 2:6], 0.0)
    assert np.abs(found[2]).max() > 1e-3


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_is_never_taken_for_a_good_match(wrap, rng, value):
    fixed, warped = images(rng, batch=1)
    spoilt = warped.numpy()
    spoilt[0, 3, 3, 3] = value
    for pair in ((fixed, spoilt), (tf.constant(spoilt), warped)):
        assert np.isnan(wrap(LocalNcc(kernel_size=3))(*pair))


def test_black_images_give_a_finite_gradient():
    black = tf.zeros([1, *SIZE])
    value, *gradients = value_and_gradients(LocalNcc(3), black, black)
    assert value.numpy() == pytest.approx(-1.0)
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, np.zeros_like(black))


def test_there_is_no_convolution_in_its_graph(rng):
    """XLA makes a slow kernel of one on CPUs."""
    pair = images(rng)
    graph = tf.function(lambda t, p: value_and_gradients(LocalNcc(3), t, p))
    operations = {
        x.type for x in graph.get_concrete_function(*pair).graph.get_operations()
    }
    assert any("MatMul" in name for name in operations)
    assert not any("Conv" in name or "Pool" in name for name in operations)


def test_the_windows_that_see_a_mask_are_those_around_it():
    """Of four voxels a window reaches one back and two on, not along the third axis."""
    mask = np.zeros((1, 6, 7, 1), np.float32)
    mask[0, 3, 3] = 1
    expected = np.zeros_like(mask)
    expected[0, 1:5, 1:5] = 1
    for kernel_type in ("rectangular", "gaussian"):
        found = LocalNcc(4, kernel_type).sees(tf.constant(mask))
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("kernel_size", [1, 0, 3.5, "3"])
def test_impossible_windows_are_refused(kernel_size):
    with pytest.raises(ValueError, match=r"kernel_size: expected an integer >= 2, got"):
        LocalNcc(kernel_size)


def test_an_unknown_window_is_refused():
    with pytest.raises(
        ValueError, match=r"expected one of rectangular, .* got 'round'"
    ):
        LocalNcc(3, "round")


@pytest.mark.parametrize("noise", [-0.1, 1e-6, np.inf, np.nan, "low", True])
def test_impossible_noise_is_refused(noise):
    with pytest.raises(ValueError, match=r"noise: expected 0 or a number >= 1e-05"):
        LocalNcc(3, noise=noise)


def test_the_registry_builds_it_and_its_configuration_comes_back(rng):
    config = dict(name="local_ncc", kernel_size=5, kernel_type="gaussian", noise=0.1)
    loss = REGISTRY.build_loss(config=config)
    assert isinstance(loss, LocalNcc)
    assert loss.get_config() == config
    again = LocalNcc(**loss.get_config())
    pair = images(rng)
    np.testing.assert_array_equal(again(*pair), loss(*pair))
