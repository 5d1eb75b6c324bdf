"""Tests of the multi-scale soft Dice; reference: DeepReg's DiceLoss and SciPy."""

import numpy as np
import pytest
import tensorflow as tf
from deepreg.loss.label import DiceLoss, gaussian_kernel1d
from deepreg.registry import REGISTRY
from scipy import ndimage

from deepreg_meta.loss.label import MultiScaleDice

EPS = 1e-7  # DeepReg's, relative to the mean over the voxels
SIZE = (6, 7, 8)
SCALES = [0, 1, 2, 4]


def labels(rng, batch=2, size=SIZE):
    """Return two soft labels, (batch, d1, d2, d3)."""
    shape = (2, batch, *size)
    return tf.unstack(tf.constant(rng.uniform(0, 1, shape) ** 3, tf.float32))


def value_and_gradient(loss, fixed, warped):
    with tf.GradientTape() as tape:
        tape.watch(warped)
        value = loss(fixed, warped)
    return value, tape.gradient(value, warped)


def numpy_dice(fixed, warped, mask, sigmas_mm, spacing_mm):
    """Filter both masked labels axis by axis, as DeepReg would; average the Dice."""

    def smooth(label, sigma_mm):
        for axis in range(3):
            sigma = sigma_mm / spacing_mm[axis]
            if sigma > 0 and label.shape[axis] > 1:
                kernel = gaussian_kernel1d(sigma).numpy()
                label = ndimage.correlate1d(label, kernel, axis=axis, mode="constant")
        return label

    scores = []
    for sigma_mm in sigmas_mm:
        a, b = (
            smooth((x * mask).astype(np.float64), sigma_mm) for x in (fixed, warped)
        )
        product, total = np.mean(a * b), np.mean(a) + np.mean(b)
        scores.append((2.0 * product + EPS) / (total + EPS))
    return -np.mean(scores)


@pytest.mark.parametrize("scales", [[0], [2], SCALES])
def test_value_and_gradient_equal_deepregs(mode, rng, scales):
    fixed, warped = labels(rng)
    ours = mode(value_and_gradient)(MultiScaleDice(scales), fixed, warped)
    theirs = value_and_gradient(DiceLoss(scales=scales), fixed, warped)
    assert -2.0 < ours[0].numpy() < -0.1  # a sum over the batch of two
    np.testing.assert_allclose(ours[0], theirs[0], rtol=1e-5)
    scale = np.max(np.abs(theirs[1]))
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-5, atol=1e-5 * scale)


def test_one_value_per_sample_is_that_of_the_sample_alone(rng):
    fixed, warped = labels(rng, batch=3)
    loss = MultiScaleDice(SCALES)
    together = loss.evaluate(loss.prepare(fixed), warped)
    for i in range(3):
        alone = loss.evaluate(loss.prepare(fixed[i : i + 1]), warped[i : i + 1])
        np.testing.assert_allclose(together[i], alone[0], rtol=1e-6)


def test_a_value_worked_out_by_hand():
    # 8 voxels against 12, 4 in common: Dice 2 * 4 / (8 + 12) = 0.4
    fixed, warped = np.zeros((2, 1, *SIZE), np.float32)
    fixed[0, :2, :2, :2] = 1.0
    warped[0, 1:4, :2, :2] = 1.0
    value = MultiScaleDice([0])(tf.constant(fixed), tf.constant(warped))
    assert value.numpy() == pytest.approx(-0.4, abs=1e-5)


def test_masked_dice_equals_filtering_both_masked_labels(mode, rng):
    fixed, warped = labels(rng)
    mask = np.zeros((2, *SIZE), np.float32)
    mask[0, [1, 3, 4]] = 1.0  # frames of their own for each sample
    mask[1, [0, 2]] = 1.0
    loss = MultiScaleDice(SCALES)
    values = mode(
        lambda: loss.evaluate(loss.prepare(fixed, tf.constant(mask)), warped)
    )()
    for i in range(2):
        arguments = fixed[i].numpy(), warped[i].numpy(), mask[i], SCALES, (1, 1, 1)
        assert values[i].numpy() == pytest.approx(numpy_dice(*arguments), rel=1e-5)


def test_nothing_off_the_mask_changes_the_masked_value(rng):
    fixed, warped = labels(rng, batch=1)
    mask = np.zeros((1, *SIZE), np.float32)
    mask[:, :, [2, 5]] = 1.0
    loss = MultiScaleDice(SCALES)

    def value(shift):
        hidden = shift * (1.0 - mask)
        target = loss.prepare(fixed + hidden, tf.constant(mask))
        return loss.evaluate(target, warped + hidden).numpy()

    np.testing.assert_array_equal(value(0.0), value(0.5))


def test_a_mask_of_ones_is_no_mask(rng):
    fixed, warped = labels(rng)
    loss = MultiScaleDice(SCALES)
    masked = loss.evaluate(loss.prepare(fixed, tf.ones_like(fixed)), warped)
    np.testing.assert_allclose(masked, loss.evaluate(loss.prepare(fixed), warped), 1e-6)


def test_sigma_is_in_mm_under_anisotropic_spacing(rng):
    fixed, warped = labels(rng, batch=1)
    spacing, loss = (0.5, 1.0, 2.0), MultiScaleDice([0, 1.5, 3])
    target = loss.prepare(fixed, None, tf.constant(spacing))
    value = loss.evaluate(target, warped)[0].numpy()
    pair = fixed[0].numpy(), warped[0].numpy(), 1.0, loss.sigmas_mm
    assert value == pytest.approx(numpy_dice(*pair, spacing), rel=1e-5)
    # and not by the spacing of another axis
    assert abs(value - numpy_dice(*pair, spacing[::-1])) > 1e-3


def test_doubling_spacing_and_sigma_changes_nothing(rng):
    fixed, warped = labels(rng)
    one, two = MultiScaleDice([1, 2]), MultiScaleDice([2, 4])
    value = one.evaluate(one.prepare(fixed), warped)
    same = two.evaluate(two.prepare(fixed, None, tf.constant([2.0] * 3)), warped)
    np.testing.assert_allclose(same, value, rtol=1e-6)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flat_label_is_filtered_in_its_plane_only(rng, axis):
    size = [*SIZE]
    size[axis] = 1
    fixed, warped = labels(rng, batch=1, size=size)
    loss = MultiScaleDice([1, 2])
    value = loss.evaluate(loss.prepare(fixed), warped)[0].numpy()
    pair = fixed[0].numpy(), warped[0].numpy()
    expected = numpy_dice(*pair, 1.0, [1, 2], (1, 1, 1))
    assert value == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("masked", [False, True])
def test_the_gradient_is_that_of_differences_in_float64(rng, masked):
    fixed, warped = (
        tf.cast(x, tf.float64) for x in labels(rng, batch=2, size=(3, 4, 2))
    )
    mask = tf.cast(fixed > 0.02, tf.float64) if masked else None
    assert not masked or 0 < np.mean(mask) < 1
    loss = MultiScaleDice([0, 0.7, 2])
    target = loss.prepare(fixed, mask)
    ours, numerical = tf.test.compute_gradient(
        lambda x: loss.evaluate(target, x), [warped], delta=1e-5
    )
    assert np.abs(numerical[0]).max() > 1e-3
    np.testing.assert_allclose(ours[0], numerical[0], rtol=1e-6, atol=1e-9)


def test_the_kernels_of_xla_lose_no_digits_on_a_large_volume(rng):
    """A plain sum of its voxels in float32 is wrong by 1e-5 there."""
    fixed, warped = labels(rng, batch=1, size=(40, 50, 60))
    loss = MultiScaleDice([0, 4])
    exact = [tf.cast(x, tf.float64) for x in (fixed, warped)]
    expected = value_and_gradient(loss, *exact)
    compiled = tf.function(loss, jit_compile=True)
    found = value_and_gradient(compiled, fixed, warped)
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    scale = np.max(np.abs(expected[1]))
    np.testing.assert_allclose(found[1], expected[1], rtol=1e-5, atol=1e-6 * scale)


def test_one_kernel_of_xla_serves_every_spacing():
    """It is compiled here with no spacing known, only its shape."""
    loss = MultiScaleDice([1, 4])
    function = tf.function(lambda a, s: loss.prepare(a, None, s), jit_compile=True)
    specs = tf.TensorSpec([1, *SIZE]), tf.TensorSpec([3])
    compiled = function.experimental_get_compiler_ir(*specs)(stage="hlo")
    assert "exponential" in compiled


@pytest.mark.parametrize("empty", ["fixed", "warped", "both"])
def test_empty_labels_give_deepregs_finite_value(rng, empty):
    fixed, warped = labels(rng, batch=1)
    fixed = fixed * float(empty == "warped")
    warped = warped * float(empty == "fixed")
    ours = value_and_gradient(MultiScaleDice(SCALES), fixed, warped)
    assert np.isfinite(ours[1]).all()
    theirs = DiceLoss(scales=SCALES)(fixed, warped)
    np.testing.assert_allclose(ours[0], theirs, rtol=1e-4, atol=1e-5)
    assert ours[0].numpy() == pytest.approx(-1.0 if empty == "both" else 0.0, abs=1e-4)


def test_a_frame_that_misses_the_label_gives_a_finite_gradient(rng):
    fixed, warped = labels(rng, batch=1)
    mask = np.zeros((1, *SIZE), np.float32)
    mask[:, 0] = 1.0
    loss = MultiScaleDice(SCALES)
    target = loss.prepare(fixed * (1.0 - mask), tf.constant(mask))
    value, gradient = value_and_gradient(loss.evaluate, target, warped * (1.0 - mask))
    assert np.isfinite(value).all() and np.isfinite(gradient).all()


@pytest.mark.parametrize("sigmas", [[], [0, -1.0]])
def test_impossible_sigmas_are_refused(sigmas):
    with pytest.raises(ValueError, match=r"loss.label.sigmas_mm: .* got \["):
        MultiScaleDice(sigmas)


def test_the_registry_builds_it_and_its_configuration_comes_back(rng):
    config = dict(name="multi_scale_dice", sigmas_mm=[0, 3])
    loss = REGISTRY.build_loss(config=config)
    assert loss.sigmas_mm == (0.0, 3.0)
    again = MultiScaleDice(**loss.get_config())
    pair = labels(rng)
    np.testing.assert_array_equal(again(*pair), loss(*pair))


@pytest.mark.parametrize(
    "sigmas", [3, "12", [], [-1], [float("nan")], [float("inf"), 1], ["a"], [True]]
)
def test_scales_are_numbers(sigmas):
    with pytest.raises(ValueError, match="train.loss.label.sigmas_mm: expected one or"):
        MultiScaleDice(sigmas_mm=sigmas)


def test_voxels_are_chosen_by_true_or_false():
    with pytest.raises(ValueError, match="in_voxels: expected true or false, got 'pe"):
        MultiScaleDice(in_voxels="perhaps")
