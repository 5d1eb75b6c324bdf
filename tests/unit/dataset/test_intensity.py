"""Tests of intensity steps: values worked out by hand, and their order."""

import nibabel as nib
import numpy as np
import pytest

from deepreg_meta.config.preprocessing import IntensityStep
from deepreg_meta.dataset.intensity import (
    Intensity,
    equalize,
    match,
    read_reference,
    scale_to_unit,
    z_score,
)
from deepreg_meta.stack import require_stack
from tests.unit.dataset.examples import image

SHAPE = (5, 6, 7)


def step(name, **keys):
    return IntensityStep(name=name, **keys)


def apply(steps, voxels):
    intensity = Intensity(steps)
    return intensity.scale(intensity.transform(voxels))


def ramp(num=101):
    """0 to 100 in a volume."""
    return np.arange(num, dtype=np.float32).reshape(num, 1, 1)


def test_without_steps_intensities_are_scaled_bit_for_bit_as_by_deepreg():
    require_stack()
    from deepreg.dataset.loader.util import normalize_array

    for voxels in (image(SHAPE), image(SHAPE, 1) * -3e4, ramp()):
        ours = apply([], voxels)
        assert ours.tobytes() == normalize_array(voxels).tobytes()
        assert ours.dtype == np.float32 and ours is not voxels
    assert not scale_to_unit(np.full(SHAPE, 7.0)).any()


@pytest.mark.parametrize(
    ("keys", "low", "high"),
    [
        ({"percentiles": (10, 75)}, 10, 75),
        ({"range": (-5, 80)}, -5, 80),
        # mean 50, standard deviation sqrt((101^2 - 1) / 12) = 29.155
        ({"sigmas": 1}, 50 - 29.155, 50 + 29.155),
    ],
)
def test_clipping_moves_what_is_beyond_to_the_limits(keys, low, high):
    clipped = Intensity([step("clip", **keys)]).transform(ramp())
    np.testing.assert_allclose(clipped, np.clip(ramp(), low, high), atol=1e-3)
    assert clipped.dtype == np.float32
    scaled = apply([step("clip", **keys)], ramp())
    expected = (np.clip(ramp(), low, high) - low) / (high - low)
    np.testing.assert_allclose(scaled, expected, atol=1e-4)


def test_one_outlier_no_longer_takes_the_whole_range():
    voxels = np.append(ramp(), 1e6).astype(np.float32)
    assert np.median(apply([], voxels)) < 1e-4
    clipped = apply([step("clip", percentiles=(0, 99))], voxels)
    assert np.median(clipped) == pytest.approx(0.5, abs=0.02)


def test_z_scores_have_mean_0_and_deviation_1_and_stay_where_they_come_last():
    voxels = image(SHAPE)
    last = [step("clip", percentiles=(5, 95)), step("z_score")]
    scores = apply(last, voxels)
    assert scores.dtype == np.float32
    assert scores.mean() == pytest.approx(0, abs=1e-6)
    assert scores.std() == pytest.approx(1, abs=1e-6)
    first = apply([step("z_score"), step("clip", range=(-1, 1))], voxels)
    assert first.min() == 0 and first.max() == 1
    # 3, 3, 3, 7: mean 4, deviation sqrt(3)
    four = z_score(np.array([3, 3, 3, 7], np.float32))
    np.testing.assert_allclose(four, np.array([-1, -1, -1, 3]) / np.sqrt(3), rtol=1e-6)
    assert not z_score(np.full(5, 2.5, np.float32)).any()


def test_steps_are_applied_in_order():
    voxels = np.array([0, 1, 2, 10], np.float32)
    clip, score = step("clip", range=(0, 2)), step("z_score")
    # clipped to 0, 1, 2, 2 with mean 1.25; scored first, the range cuts z-scores
    np.testing.assert_allclose(
        Intensity([clip, score]).transform(voxels),
        (np.array([0, 1, 2, 2]) - 1.25) / np.std([0, 1, 2, 2]),
        rtol=1e-6,
    )
    scores = (voxels - 3.25) / voxels.std()
    np.testing.assert_allclose(
        Intensity([score, clip]).transform(voxels), scores.clip(0, 2), rtol=1e-5
    )


def test_equalized_values_are_the_shares_of_voxels_not_above_them(rng):
    voxels = rng.exponential(size=(20, 20, 20)).astype(np.float32)
    result = equalize(voxels)
    assert result.dtype == np.float32
    for value in np.quantile(voxels, [0.3, 0.6, 0.9]):
        at = np.abs(voxels - value).argmin()
        assert result.ravel()[at] == pytest.approx((voxels <= value).mean(), abs=0.03)
    order = voxels.ravel().argsort()
    assert (np.diff(result.ravel()[order]) >= 0).all()
    # the histogram is flat: a tenth of all voxels in each tenth of the range
    counts, _ = np.histogram(result, bins=10, range=(0, 1))
    np.testing.assert_allclose(counts / voxels.size, 0.1, atol=0.03)
    # thirds of the voxels in the bins 0, 128 and 255 of 256; 0.5 lies on the edge of
    # bin 128, half way from the centre of bin 127, where the share is still a third
    by_hand = equalize(np.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(by_hand, [1 / 3, 1 / 2, 1], rtol=1e-6)


def test_matching_undoes_another_scale_of_intensities(rng):
    wanted = rng.gamma(2, size=(16, 15, 14)).astype(np.float32)
    changed = 300 * np.sqrt(wanted) - 7  # the same anatomy, another scanner
    matched = match(changed, wanted)
    assert matched.shape == changed.shape and matched.dtype == np.float32
    bright = wanted > wanted.mean()  # the dark part is left out
    assert np.abs(matched - wanted)[bright].mean() < 0.02 * np.ptp(wanted)
    assert np.abs(changed - wanted)[bright].mean() > 50
    # axes are not mixed up on the way to SimpleITK and back
    assert np.corrcoef(matched.ravel(), wanted.ravel())[0, 1] > 0.98


def test_matching_leaves_a_dark_background_out(rng):
    # the same tissue, once on a quarter and once on three quarters of the volume
    wanted, other = np.zeros((2, 16, 16, 16), np.float32)
    wanted[:4] = rng.normal(100, 5, (4, 16, 16))
    other[:12] = rng.normal(300, 15, (12, 16, 16))
    matched = match(other, wanted)[:12]
    assert matched.mean() == pytest.approx(100, abs=3)
    assert matched.std() == pytest.approx(5, abs=2)


def test_a_reference_is_a_file_or_the_fixed_image_of_the_pair(rng):
    voxels, fixed = image(SHAPE), 500 + 10 * image(SHAPE, 3)
    pair = Intensity([step("match", reference="fixed")])
    assert pair.needs_pair
    np.testing.assert_array_equal(pair.transform(voxels, fixed), match(voxels, fixed))
    with pytest.raises(RuntimeError, match="fixed image of the pair is missing"):
        pair.transform(voxels)
    file = Intensity([step("match", reference="ref.nii")], {"ref.nii": fixed})
    assert not file.needs_pair and not Intensity().needs_pair
    np.testing.assert_array_equal(file.transform(voxels), match(voxels, fixed))


@pytest.mark.parametrize(
    ("voxels", "message"),
    [
        (np.ones(SHAPE), "expected one volume .* values from 1 to 1"),
        (np.full(SHAPE, np.nan), "finite intensities and contrast"),
        (image((*SHAPE, 2)), r"expected one volume .*got shape \(5, 6, 7, 2\)"),
    ],
)
def test_a_reference_must_be_a_volume_with_contrast(tmp_path, voxels, message):
    path = tmp_path / "ref.nii.gz"
    nib.save(nib.Nifti1Image(voxels, np.eye(4)), path)
    with pytest.raises(ValueError, match=message):
        read_reference(str(path))
    with pytest.raises(FileNotFoundError, match="gone.nii: expected a file"):
        read_reference(str(tmp_path / "gone.nii"))


def test_a_reference_is_read_as_float32(tmp_path):
    path = tmp_path / "ref.nii.gz"
    nib.save(nib.Nifti1Image(image(SHAPE).astype(np.int16), np.eye(4)), path)
    voxels = read_reference(str(path))
    assert voxels.dtype == np.float32
    np.testing.assert_array_equal(voxels, image(SHAPE).astype(np.int16))


def test_a_range_as_the_last_step_is_one_window_for_all_images():
    """-100 to 300: 0 becomes 0.25 and 100 a half, whatever else an image shows."""
    step = IntensityStep(name="clip", range=(-100, 300))
    intensity = Intensity((step,))
    for values in ([0.0, 100.0], [0.0, 100.0, 300.0, 900.0]):
        voxels = np.array(values, np.float32)
        scaled = intensity.scale(intensity.transform(voxels))
        np.testing.assert_allclose(scaled[:2], [0.25, 0.5], atol=1e-6)
    assert scaled[-1] == 1
