"""Tests of deepreg_meta/loss/masked.py."""

import numpy as np
import pytest
import tensorflow as tf
from deepreg.registry import REGISTRY
from scipy import ndimage

from deepreg_meta.loss.image import LocalNcc
from deepreg_meta.loss.masked import masked_loss, mean_loss

SHAPE = (5, 7, 6)
LOCAL = ("local_ncc", "lncc")
NAMES = ("ssd", *LOCAL, "gncc", "gmi")


def build(name):
    """:return: the image loss; windows of three voxels."""
    options = {"kernel_size": 3} if name in LOCAL else {}
    return REGISTRY.build_loss({"name": name, **options})


def images(rng, size=1):
    """:return: two images that have much in common."""
    fixed = rng.random((size, *SHAPE))
    moving = 0.6 * fixed + 0.4 * rng.random((size, *SHAPE))
    return fixed.astype(np.float32), moving.astype(np.float32)


def a_mask(*box):
    """:return: ones in a box of (start, stop) along each axis."""
    mask = np.zeros((1, *SHAPE), np.float32)
    mask[(0, *(slice(*ends) for ends in box))] = 1
    return mask


SMALL = a_mask((1, 4), (2, 6), (1, 5))
SHOWN = a_mask((0, 5), (2, 5), (0, 6))  # some windows see nothing of it


@pytest.mark.parametrize("name", [*NAMES, "dice", "jaccard"])
def test_a_mini_batch_is_the_mean_of_its_elements(rng, name):
    """Also for losses that DeepReg returns as means already."""
    loss = build(name)
    fixed, moving = images(rng, 3)
    alone = [
        float(mean_loss(loss, fixed[i : i + 1], moving[i : i + 1])) for i in range(3)
    ]
    assert np.ptp(alone) > 1e-4
    np.testing.assert_allclose(mean_loss(loss, fixed, moving), np.mean(alone), 1e-5)


def test_a_loss_that_is_no_keras_loss_is_a_sum_over_the_batch(rng):
    """DeepReg's convention: the mean of 1 and 3 is 2."""

    def first_voxels(y_true, y_pred):
        return tf.reduce_sum(y_true[:, 0, 0, 0] * y_pred[:, 0, 0, 0])

    ones = tf.ones([2, *SHAPE])
    values = ones * tf.constant([1.0, 3.0])[:, None, None, None]
    assert float(mean_loss(first_voxels, ones, values)) == 2.0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shown", [np.ones((1, *SHAPE), np.float32), SHOWN])
def test_a_mask_of_all_that_is_shown_changes_nothing(rng, mode, name, shown):
    """Nor the gradient; in a sweep too, where only some frames are shown."""
    loss = build(name)
    fixed, moving = (tf.constant(image) for image in images(rng))
    fixed = fixed * shown
    target = loss.prepare(fixed, shown) if isinstance(loss, LocalNcc) else fixed
    functions = (
        mode(lambda x: masked_loss(loss, fixed, x, shown, shown)),
        lambda x: mean_loss(loss, target, x * shown),
    )
    found = []
    for function in functions:
        with tf.GradientTape() as tape:
            tape.watch(moving)
            value = function(moving)
        found.append((value, tape.gradient(value, moving)))
    assert abs(found[1][0]) > 0.01 and np.abs(found[1][1]).max() > 1e-4
    for got, expected in zip(*found, strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_what_lies_outside_the_mask_changes_neither_loss_nor_gradient(rng, mode, name):
    """Bit for bit, on both sides; what lies inside does."""
    loss = build(name)
    function = mode(lambda x, y: masked_loss(loss, x, y, SMALL, np.ones_like(SMALL)))
    fixed, moving = images(rng)
    others = images(rng)
    outside = [np.where(SMALL > 0, *p) for p in zip((fixed, moving), others)]  # noqa: B905
    found = []
    for pair in ((fixed, moving), outside):
        pair = [tf.constant(image) for image in pair]
        with tf.GradientTape() as tape:
            tape.watch(pair)
            value = function(*pair)
        found.append([value, *tape.gradient(value, pair)])
    for a, b in zip(*found, strict=True):
        np.testing.assert_array_equal(a, b)
    for gradient in found[0][1:]:
        assert np.abs(gradient).max() > 1e-5
        np.testing.assert_array_equal(gradient.numpy()[SMALL == 0], 0)
    inside = np.where(SMALL > 0, others[0], fixed)
    assert abs(float(function(inside, moving)) - float(found[0][0])) > 1e-4


@pytest.mark.parametrize("name", NAMES)
def test_every_pair_of_a_mini_batch_counts_by_its_own_mask(rng, mode, name):
    """However large the masks of the others are; the gradients too."""
    loss = build(name)
    masks = np.concatenate([SMALL, np.ones_like(SMALL), a_mask((0, 2), (0, 3), (0, 6))])
    fixed, moving = (tf.constant(image) for image in images(rng, 3))
    fixed = fixed * masks
    shown = np.ones_like(masks)

    @mode
    def together(x):
        return masked_loss(loss, fixed, x, masks, shown)

    with tf.GradientTape() as tape:
        tape.watch(moving)
        value = together(moving)
    gradient = tape.gradient(value, moving)
    alone, gradients = [], []
    for i in range(3):
        one, own = moving[i : i + 1], slice(i, i + 1)
        with tf.GradientTape() as tape:
            tape.watch(one)
            found = masked_loss(loss, fixed[own], one, masks[own], shown[own])
        alone.append(float(found))
        gradients.append(tape.gradient(found, one)[0] / 3)
    assert np.ptp(alone) > 1e-3
    np.testing.assert_allclose(value, np.mean(alone), rtol=1e-4)
    np.testing.assert_allclose(gradient, gradients, rtol=1e-3, atol=1e-6)


def test_the_sum_of_squares_is_a_mean_over_the_mask(rng):
    """By NumPy, and 0.25 for images that differ by 0.5, whatever the mask."""
    loss, ones = build("ssd"), np.ones_like(SMALL)
    fixed, moving = images(rng)
    found = masked_loss(loss, fixed, moving, SMALL, ones)
    np.testing.assert_allclose(found, np.mean((fixed - moving)[SMALL > 0] ** 2), 1e-5)
    for mask in (SMALL, SHOWN, a_mask((2, 3), (2, 3), (2, 3))):
        found = masked_loss(loss, 0.9 * ones, 0.4 * ones, mask, ones)
        np.testing.assert_allclose(found, 0.25, rtol=1e-5)


def test_in_a_sweep_the_sum_of_squares_keeps_the_weight_of_its_frames(rng):
    """Half the voxels shown: half the mean over the mask, as without a mask."""
    fixed, moving = images(rng)
    shown = a_mask((0, 5), (0, 7), (0, 3))
    mask = SMALL * shown
    found = masked_loss(build("ssd"), fixed * shown, moving, mask, shown)
    expected = 0.5 * np.mean((fixed - moving)[mask > 0] ** 2)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_the_global_correlation_is_that_of_the_voxels_in_the_mask(rng):
    """Squared and negative, as NumPy finds it; of faint images too."""
    eps = tf.keras.backend.epsilon()
    for contrast in (1.0, 0.1):
        fixed, moving = (contrast * image for image in images(rng))
        for mask in (SMALL, a_mask((1, 3), (3, 5), (1, 4))):
            found = masked_loss(build("gncc"), fixed, moving, mask, np.ones_like(mask))
            matrix = np.cov(fixed[mask > 0], moving[mask > 0], bias=True)
            square = matrix[0, 1] ** 2 + eps
            expected = square / (matrix[0, 0] * matrix[1, 1] + eps)
            assert 0.1 < expected < 0.95
            np.testing.assert_allclose(found, -expected, rtol=1e-3)


@pytest.mark.parametrize("name", LOCAL)
def test_the_local_correlation_is_the_mean_of_the_windows_that_see_the_mask(rng, name):
    """
    Window by window in NumPy, with zeros outside the volume.

    Of ours over the voxels of the mask, which DeepReg's takes for zeros elsewhere.
    """
    fixed, moving = images(rng)
    padded = [np.pad((x * SMALL)[0], 1).astype(float) for x in (fixed, moving)]
    seen, eps = np.pad(SMALL[0], 1), tf.keras.backend.epsilon()
    counts = np.pad(SMALL[0], 1, constant_values=1) > 0
    values = []
    for centre in np.ndindex(*SHAPE):
        window = tuple(slice(i, i + 3) for i in centre)
        if not seen[window].any():
            continue
        where = counts[window] if name == "local_ncc" else np.full((3, 3, 3), True)
        t, p = (image[window][where] for image in padded)
        cross = (t * p).sum() - t.sum() * p.sum() / t.size
        spread = (t.var() * t.size) * (p.var() * p.size)
        values.append((cross**2 + eps) / (spread + eps))
    assert len(values) == 5 * 6 * 6  # the box and one voxel around it
    found = masked_loss(build(name), fixed, moving, SMALL, np.ones_like(SMALL))
    np.testing.assert_allclose(found, -np.mean(values), rtol=1e-3)


@pytest.mark.parametrize("kernel_type", ["rectangular", "triangular", "gaussian"])
def test_a_fixed_image_that_was_prepared_makes_no_difference(rng, kernel_type):
    loss = LocalNcc(3, kernel_type)
    fixed, moving = (tf.constant(image) for image in images(rng, 2))
    target = loss.prepare(fixed, SMALL)
    np.testing.assert_allclose(
        masked_loss(loss, target, moving, SMALL, SHOWN),
        masked_loss(loss, fixed, moving, SMALL, SHOWN),
        rtol=1e-6,
    )
    np.testing.assert_allclose(
        mean_loss(loss, loss.prepare(fixed), moving),
        mean_loss(loss, fixed, moving),
        rtol=1e-6,
    )


@pytest.mark.parametrize("name", [*LOCAL, "gncc"])
def test_equal_images_are_as_equal_under_any_mask(rng, name):
    """Perfect is -1, never better: a small mask gives no advantage."""
    fixed, _ = images(rng)
    for mask in (np.ones_like(SMALL), SMALL, a_mask((1, 3), (3, 5), (1, 4))):
        found = masked_loss(build(name), fixed, fixed, mask, np.ones_like(mask))
        np.testing.assert_allclose(found, -1.0, atol=2e-3)


def test_on_a_few_frames_the_local_correlation_knows_what_differs(rng):
    """
    The same image, one that is moved, an unrelated one: smooth, bright, 5 of 20 frames.

    With zeros for what is not shown, the step from the image to them makes all alike.
    """
    size = (24, 20, 24)
    fixed, other = (ndimage.gaussian_filter(rng.random(size), 2) for _ in range(2))
    fixed, other = (0.3 + 0.3 * (x - x.min()) / np.ptp(x) for x in (fixed, other))
    mask = np.zeros((1, *size), np.float32)
    mask[:, :, ::4] = 1
    loss, found, zeros = LocalNcc(9), [], []
    for moving in (fixed, np.roll(fixed, 5, 0), other):
        t, p = (tf.constant(x[None], tf.float32) for x in (fixed, moving))
        found.append(float(masked_loss(loss, t, p, mask, mask)))
        zeros.append(float(loss(t * mask, p * mask)))
    np.testing.assert_allclose([found[0], zeros[0]], -1.0, atol=1e-3)
    assert max(zeros[1:]) < -0.95 and min(found[1:]) > -0.85


def test_an_empty_mask_gives_numbers(rng):
    """There is nothing to compare, but nothing to divide by zero either."""
    fixed, moving = images(rng)
    empty = tf.zeros_like(fixed)
    for name in NAMES:
        pair = [tf.constant(image) for image in (fixed, moving)]
        with tf.GradientTape() as tape:
            tape.watch(pair)
            value = masked_loss(build(name), *pair, empty, tf.ones_like(empty))
        assert np.isfinite(value)
        for gradient in tape.gradient(value, pair):
            assert np.isfinite(gradient).all()
