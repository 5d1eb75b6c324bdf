"""Tests of deepreg_meta/sequence/simulated.py."""

from dataclasses import replace

import numpy as np
import pytest

from deepreg_meta.evaluate.metric import local_ncc
from deepreg_meta.sequence.measure import measure_pair, warp_frame
from deepreg_meta.sequence.simulated import simulate
from deepreg_meta.sequence.track import TrackedPair
from tests.unit.sequence.examples import HEART, OPTIONS, echo

FEW = replace(OPTIONS, num_frames=3)


def test_frames_are_greys_on_a_grid_of_itks_plane():
    """The wall brighter than the tissue around, the cavity darker."""
    own = echo()
    assert own.images.shape == (6, 48, 44, 1) == own.labels.shape
    assert own.images.min() >= 0 and own.images.max() == 1
    wall, cavity, outside = (own.images[own.labels == k].mean() for k in (2, 1, 0))
    assert wall > outside + 0.2 and outside > cavity + 0.04
    assert own.grid.is_planar and own.sequence.unit == "mm"
    assert own.sequence.time_step_s == pytest.approx(0.4 / 6)


@pytest.mark.parametrize("pair", [(2, 1), (1, 2), (5, 1)])
def test_the_truth_is_the_difference_of_scatterers_positions(rng, pair):
    """Of tissue at the pixels of the fixed frame, to 1e-9 voxels."""
    fixed, moving = pair
    ddf = echo().ddf(fixed, moving)
    pixels = OPTIONS.screen.points
    material = HEART.material(pixels, OPTIONS.phase(fixed))
    ends = [HEART.place(material, OPTIONS.phase(index)) for index in pair]
    np.testing.assert_allclose(ends[0], pixels, atol=1e-9)
    expected = (ends[1] - ends[0]) / 0.7
    np.testing.assert_allclose(ddf[:, :, 0, :2], expected, atol=1e-9)
    assert not ddf[..., 2].any() and np.abs(expected).max() > 0.9


def test_the_images_move_by_the_truth():
    """
    Warped by it, a frame resembles the next better, by its opposite less, although the
    strain between two of six frames changes most of the speckle.
    """
    own = echo()
    wall = own.labels[2] == 2
    ddf = own.ddf(2, 1)
    row = measure_pair(TrackedPair(2, 1, ddf), own.sequence, wall, 3, truth=ddf)
    assert row["nlcc_tracked"] > row["nlcc_still"] + 0.15
    assert row["mse_tracked"] < 0.7 * row["mse_still"]
    wrong = warp_frame(own.images[1], -ddf)
    assert local_ncc(own.images[2], wrong, wall, 7) < row["nlcc_still"] - 0.1


def test_points_of_the_wall_are_where_the_label_is():
    """In the middle of it, in every frame, and move by the truth."""
    own = echo()
    for index in range(6):
        points = own.points(index)
        voxels = np.rint(own.grid.to_voxel(points.points)).astype(int)
        assert (own.labels[index][tuple(voxels.T)] == 2).all()
    start, end = (own.grid.to_voxel(own.points(i).points) for i in (0, 2))
    apart = (end - start)[:, :2] * 0.7
    places = start[:, :2] * 0.7 + OPTIONS.screen.points[0, 0]
    expected = HEART.follow(places, OPTIONS.phase(0), OPTIONS.phase(2)) - places
    np.testing.assert_allclose(apart, expected, atol=1e-9)
    assert own.points(0).names[:2] == ("w0", "w1")


def test_one_seed_gives_one_sequence():
    """Another one other speckle; without a heart, another heart too."""
    first, again = (simulate(3, FEW, HEART) for _ in range(2))
    np.testing.assert_array_equal(first.images, again.images)
    other = simulate(4, FEW, HEART)
    assert np.abs(other.images - first.images).mean() > 0.05
    np.testing.assert_array_equal(other.labels, first.labels)
    assert simulate(3, FEW).heart == simulate(3, FEW).heart != simulate(4, FEW).heart
    with pytest.raises(ValueError, match="expected a seed >= 0, got -1"):
        simulate(-1)


STILL = replace(HEART, area_ratio=1.0, twist_deg=0.0, drift_mm=(0.0, 0.0))


def similarity(**change):
    """:return: how alike neighbouring frames of a heart are that does not move."""
    own = simulate(1, replace(FEW, **change), STILL)
    assert np.abs(own.ddf(1, 0)).max() < 1e-12
    return local_ncc(own.images[0], own.images[1], window=7)


def test_without_motion_only_decorrelation_and_noise_change_the_speckle():
    assert similarity() == pytest.approx(1)
    few, many = (similarity(decorrelation=share) for share in (0.05, 0.3))
    assert 0.98 > few > many + 0.1
    weak, strong = (similarity(noise_db=level) for level in (-30.0, -10.0))
    assert 0.99 > weak > strong + 0.1


def test_a_sector_is_dark_beside_its_beams():
    probe = replace(OPTIONS.probe, sector_deg=70.0, focus_mm=16.0)
    own = simulate(2, replace(FEW, probe=probe, noise_db=-20.0), HEART)
    points = OPTIONS.screen.points
    beside = np.abs(np.arctan2(points[..., 0], points[..., 1])) > np.deg2rad(36)
    assert (own.images[:, beside] == 0).all()
    assert own.images[:, ~beside].mean() > 0.3
