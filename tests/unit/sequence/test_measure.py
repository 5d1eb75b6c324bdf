"""Tests of deepreg_meta/sequence/measure.py."""

from dataclasses import replace

import numpy as np
import pytest

from deepreg_meta.evaluate.metric import local_ncc
from deepreg_meta.sequence.measure import lengths_of, measure_pair, warp_frame
from deepreg_meta.sequence.track import TrackedPair
from tests.unit.sequence.examples import (
    SHIFT,
    SPACING,
    STEP_S,
    shift_field,
    shifting,
    texture,
)

INNER = np.zeros((20, 17, 1), bool)
INNER[5:15, 4:13] = True  # where a shift brings nothing from beyond the frame


def tracked(sequence, shift=SHIFT, fixed=1, moving=0):
    return TrackedPair(fixed, moving, shift_field(sequence, shift)(fixed, moving), 0.5)


def test_identical_frames_have_no_error_and_a_correlation_of_one():
    sequence = shifting(shift=np.zeros(3, int))
    row = measure_pair(tracked(sequence, np.zeros(3)), sequence, radius=2)
    assert row["mse_still"] == 0 and row["mse_tracked"] < 1e-30
    assert row["nlcc_still"] == pytest.approx(1, abs=1e-6)
    assert row["nlcc_tracked"] == pytest.approx(1, abs=1e-6)
    assert row["motion_mean_mm"] == row["folds"] == 0 and row["jacobian_min"] == 1


def test_the_true_shift_explains_everything_in_the_region():
    """Noise that does not move with it has twice its variance, 1 / 12 each."""
    sequence = shifting()
    truth = shift_field(sequence)(1, 0)
    row = measure_pair(tracked(sequence), sequence, INNER, radius=2, truth=truth)
    assert row["pair"] == "001_to_000" and row["frame"] == 1
    assert row["time_s"] == pytest.approx(STEP_S) and row["seconds"] == 0.5
    assert row["mse_tracked"] < 1e-12 and row["nlcc_tracked"] == pytest.approx(1)
    assert row["mse_still"] == pytest.approx(1 / 6, rel=0.25)
    assert row["nlcc_still"] < 0.2
    length = np.hypot(2 * 0.5, 0.8)
    for name in ("motion_mean_mm", "motion_max_mm", "epe_still_mm"):
        assert row[name] == pytest.approx(length, rel=1e-6)
    assert row["speed_mean"] == pytest.approx(length / STEP_S, rel=1e-6)
    for name in ("epe_tracked_mm", "epe_median_mm", "epe_p95_mm"):
        assert row[name] == 0


def test_only_the_region_is_measured():
    """What is changed beyond it changes nothing."""
    sequence = shifting()
    images = sequence.images.copy()
    images[:, ~INNER] = texture(images[:, ~INNER].shape, 9)
    other = replace(sequence, images=images)
    # of one range of intensities
    sequence.images[:, 0, :2, 0] = images[:, 0, :2, 0] = [0, 1]
    still = tracked(sequence, np.zeros(3))
    rows = [measure_pair(still, own, INNER, radius=2) for own in (sequence, other)]
    for name in ("mse_still", "mse_tracked", "nlcc_still", "nlcc_tracked"):
        assert rows[0][name] == pytest.approx(rows[1][name], rel=1e-5)
    whole = [measure_pair(still, own, None, radius=2) for own in (sequence, other)]
    assert abs(whole[0]["mse_still"] - whole[1]["mse_still"]) > 1e-3


def test_the_windows_have_the_radius_asked_for():
    """Of radius r 2 r + 1 voxels, in intensities of [0, 1]."""
    sequence = shifting()
    row = measure_pair(tracked(sequence, np.zeros(3)), sequence, INNER, radius=3)
    fixed, moving = sequence.scaled(1), sequence.scaled(0)
    assert row["nlcc_still"] == local_ncc(fixed, moving, INNER, window=7)
    assert row["nlcc_still"] != local_ncc(fixed, moving, INNER, window=5)


def test_errors_are_distances_in_mm():
    """A field that is wrong by one voxel along axis 1."""
    sequence = shifting()
    truth = shift_field(sequence)(1, 0) + [0, 1, 0]
    row = measure_pair(tracked(sequence), sequence, INNER, truth=truth)
    assert row["epe_tracked_mm"] == pytest.approx(0.8, rel=1e-6)
    lengths = lengths_of(np.ones((20, 17, 1, 3)), sequence)
    np.testing.assert_allclose(lengths, np.hypot(*SPACING[:2]))


def test_without_a_time_step_speed_is_per_frame():
    sequence = shifting(time_step_s=None)
    row = measure_pair(tracked(sequence), sequence)
    assert "time_s" not in row
    assert row["speed_mean"] == row["motion_mean_mm"]


def test_a_frame_is_taken_where_the_field_leads():
    """Halfway between two voxels their mean; beyond the frame its border goes on."""
    sequence = shifting()
    ddf = np.zeros((20, 17, 1, 3), np.float32)
    ddf[4, 5, 0] = [0.5, 0, 0]
    ddf[6, 5, 0] = [-20, 0, 0]
    image = sequence.images[0]
    warped = warp_frame(image, ddf)
    assert warped[4, 5, 0] == pytest.approx((image[4, 5, 0] + image[5, 5, 0]) / 2)
    assert warped[6, 5, 0] == image[0, 5, 0] and warped[7, 5, 0] == image[7, 5, 0]


def test_folds_are_told():
    sequence = shifting()
    ddf = np.zeros((20, 17, 1, 3), np.float32)
    ddf[10, 8, 0, 0] = 3
    row = measure_pair(TrackedPair(1, 0, ddf), sequence)
    assert row["folds"] > 0 and row["jacobian_min"] < 0


def test_a_shift_that_is_known_is_better_than_none_up_to_the_border():
    """A smooth pattern of positive values, one voxel a frame, no region."""
    places = np.arange(24.0)
    frames = [
        (2 + np.sin((places[:, None] - t) / 4) + np.cos(places / 5))[..., None]
        for t in range(2)
    ]
    sequence = replace(shifting(2, (24, 24, 1)), images=np.stack(frames))
    ddf = np.zeros((24, 24, 1, 3), np.float32)
    ddf[..., 0] = -1
    row = measure_pair(TrackedPair(1, 0, ddf), sequence)
    assert row["mse_tracked"] < 0.1 * row["mse_still"]
    assert row["nlcc_tracked"] > row["nlcc_still"]
