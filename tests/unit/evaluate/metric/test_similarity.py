"""Laws, hand-derived values and errors of deepreg_meta.evaluate.metric.similarity."""

import math
import os

import numpy as np
import pytest

from deepreg_meta.evaluate import metric

SHAPE = (5, 6, 7)


def test_mse_of_a_constant_offset_is_its_square():
    image = np.arange(5 * 6 * 7).reshape(5, 6, 7)
    assert metric.mse(image, image + 3) == pytest.approx(9.0)


def test_ncc_ignores_gain_and_offset_and_shows_the_sign():
    image = np.random.default_rng(0).random((5, 6, 7))
    assert metric.ncc(image, 2 * image + 1) == pytest.approx(1.0)
    assert metric.ncc(image, -image) == pytest.approx(-1.0)
    # (0, 1, 2) and (0, 0, 1): covariance 1, variances 2 and 2/3
    assert metric.ncc([0, 1, 2], [0, 0, 1]) == pytest.approx(np.sqrt(3) / 2)
    assert np.isnan(metric.ncc(image, np.ones_like(image)))


@pytest.mark.parametrize("value", [0.1, 0.7, 1e6 / 3])
def test_ncc_of_a_constant_image_is_nan_whatever_rounding_leaves_of_its_mean(value):
    flat = np.full(1001, value)
    other = np.linspace(0, 1, 1001)
    assert np.isnan(metric.ncc(flat, other)) and np.isnan(metric.ncc(other, flat))
    assert np.isnan(metric.ncc(np.where(other < 0.5, other, value), other, other > 0.5))


def by_hand(a, b, mask, radius=1):
    """The mean of the squared correlation of every window, in plain loops."""
    found = []
    for centre in np.argwhere(mask):
        low, high = np.maximum(centre - radius, 0), centre + radius + 1
        window = tuple(slice(*ends) for ends in zip(low, high, strict=True))
        x, y = a[window][mask[window]], b[window][mask[window]]
        found.append(np.corrcoef(x, y)[0, 1] ** 2)
    return np.mean(found)


def test_local_correlation_is_the_mean_of_the_windows_squared_correlations(rng):
    a, b = rng.normal(100, 5, size=(2, *SHAPE))
    everywhere = np.ones(SHAPE, bool)
    expected = by_hand(a, b, everywhere)
    assert metric.local_ncc(a, b, window=3) == pytest.approx(expected)
    mask = np.arange(6)[:, None] > 1  # along axis 1
    expected = by_hand(a, b, everywhere & mask)
    assert metric.local_ncc(a, b, mask, window=3) == pytest.approx(expected)


def test_local_correlation_ignores_gain_offset_and_sign_of_each_region():
    ramp = np.add.outer(np.arange(30.0), np.add.outer(np.arange(6) ** 2, np.arange(7)))
    assert metric.local_ncc(ramp, 7 - 2 * ramp) == pytest.approx(1.0)
    patchwork = np.where(np.arange(30) < 15, 1, -3)[:, None, None] * ramp
    # but for windows across the seam, which are 8 of 30
    assert metric.local_ncc(ramp, patchwork) > 22 / 30 > metric.ncc(ramp, patchwork)


@pytest.mark.parametrize("flat", [0, 1, 2])
def test_a_flat_image_is_not_averaged_across_its_plane(flat, rng):
    a, b = rng.normal(size=(2, 6, 7))
    expected = by_hand(a, b, np.ones((6, 7), bool))
    a, b = np.expand_dims(a, flat), np.expand_dims(b, flat)
    assert metric.local_ncc(a, b, window=3) == pytest.approx(expected)


def test_windows_constant_in_both_images_are_left_out_and_in_one_count_as_0(rng):
    a = np.zeros((15, 6, 7))
    a[:5] = rng.normal(size=(5, 6, 7))
    # windows of 3 reach into the noise up to slab 5: 6 of the 15 slabs count
    assert metric.local_ncc(a, 2 * a + 1, window=3) == pytest.approx(1.0)
    b = a.copy()
    b[9:] = rng.normal(size=(6, 6, 7))  # slabs 8 to 14 count too, and have no partner
    assert metric.local_ncc(a, b, window=3) == pytest.approx(6 / 13)
    assert metric.local_ncc(a, np.full_like(a, 3.0), window=3) == 0.0
    assert math.isnan(metric.local_ncc(np.full_like(a, 3.0), np.zeros_like(a)))


def test_large_intensities_do_not_cost_precision(rng):
    a, b = rng.normal(size=(2, *SHAPE))
    expected = metric.local_ncc(a, b, window=3)
    assert metric.local_ncc(1e6 + a, 1e6 + b, window=3) == pytest.approx(expected)


def test_local_correlation_equals_deepregs_loss_away_from_the_border(rng):
    pytest.importorskip("tf_keras")
    os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")
    image = pytest.importorskip("deepreg.loss.image")
    a, b = (np.pad(x, 8) for x in rng.normal(size=(2, *SHAPE)).astype(np.float32))
    loss = image.LocalNormalizedCrossCorrelation(kernel_size=9)
    theirs = float(loss.call(a[None], b[None])[0])
    # no window that is not constant reaches the border; constant ones give DeepReg 1
    num = (5 + 8) * (6 + 8) * (7 + 8)
    ours = (theirs * a.size - (a.size - num)) / num
    assert metric.local_ncc(a, b) == pytest.approx(ours, rel=1e-3)


@pytest.mark.parametrize("measure", [metric.mse, metric.ncc, metric.local_ncc])
def test_what_is_no_number_leaves_no_measure_unless_a_mask_leaves_it_out(measure, rng):
    a = rng.random((9, 8, 7))
    b = a.copy()
    b[4, 4, 4] = np.nan
    assert np.isnan(measure(a, b)) and np.isnan(measure(b, a))
    assert measure(a, b, np.isfinite(b)) == pytest.approx(measure(a, a))


def test_a_mask_restricts_every_measure():
    a, b = np.zeros(SHAPE), np.zeros(SHAPE)
    a[:, :3], b[:, :3] = np.arange(7), np.arange(7) * 3
    b[:, 3:] = 100.0
    mask = (np.arange(6) < 3)[:, None]
    # squares of 2 x: 4 (0 + 1 + 4 + 9 + 16 + 25 + 36) / 7
    assert metric.mse(a, b, mask) == pytest.approx(52.0)
    assert metric.ncc(a, b, mask) == pytest.approx(1.0)
    assert metric.local_ncc(a, b, mask, window=3) == pytest.approx(1.0)
    assert metric.ncc(a, b) < 0.5
    nothing = np.zeros(SHAPE)
    for measure in (metric.mse, metric.ncc, metric.local_ncc):
        assert math.isnan(measure(a, b, nothing))


def test_images_windows_and_masks_that_do_not_fit_are_refused():
    a = np.zeros(SHAPE)
    for measure in (metric.mse, metric.ncc, metric.local_ncc):
        with pytest.raises(ValueError, match=r"\(5, 6, 7\) and \(5, 6, 1\)"):
            measure(a, np.zeros((5, 6, 1)))
        with pytest.raises(ValueError, match=r"mask \(7, 6, 5\)"):
            measure(a, a, np.ones((7, 6, 5)))
    for window in (1, 4):
        with pytest.raises(ValueError, match=f"odd window >= 3, got {window}"):
            metric.local_ncc(a, a, window=window)
