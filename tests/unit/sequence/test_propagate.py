"""Tests of deepreg_meta/sequence/propagate.py: what is carried from frame to frame."""

from dataclasses import replace

import numpy as np
import pytest

from deepreg_meta.evaluate.metric import dsc
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.sequence.frames import pair_indices
from deepreg_meta.sequence.propagate import Composition, LabelTrail, PointTrail
from deepreg_meta.sequence.simulated import EchoSequence
from deepreg_meta.sequence.track import TrackedPair, track
from tests.unit.sequence.examples import (
    HEART,
    OPTIONS,
    SHIFT,
    Known,
    echo,
    grid_of,
    shift_field,
    shifting,
    texture,
)

DIRECTIONS = ["backward", "forward"]


def truth(fixed, moving):
    return echo().ddf(fixed, moving)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_label_of_a_translation_is_carried_exactly(direction):
    """Every voxel whose tissue is in the first frame; elsewhere there is none."""
    sequence = shifting()
    label = np.zeros(sequence.grid.shape, np.uint8)
    label[6:11, 7:12] = 1
    label[8, 9:11] = 5
    trail = LabelTrail(label, sequence.grid)
    for pair in track(sequence, Known(shift_field(sequence)), direction):
        found = trail.advance(pair)
        steps = max(pair.fixed, pair.moving)
        expected = np.roll(label, tuple(steps * SHIFT), axis=(0, 1, 2))
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == np.uint8


def test_motion_of_less_than_half_a_voxel_moves_a_label():
    """A ball, 0.4 voxels a frame; by the nearest voxel it has 0.93 to 0.94."""
    axes = np.stack(np.meshgrid(*[np.arange(24.0)] * 3, indexing="ij"), -1)
    centre, step = np.array([11.0, 11.5, 11.2]), np.array([0.4, -0.3, 0.2])

    def ball(frame):
        middle = centre + frame * step
        return (np.linalg.norm(axes - middle, axis=-1) <= 6).astype(np.uint8)

    grid = Grid((24, 24, 24), np.eye(4))
    trail = LabelTrail(ball(0), grid)
    field = np.broadcast_to(-step, (24, 24, 24, 3)).astype(np.float32)
    for frame in (1, 2, 3):
        found = trail.advance(TrackedPair(frame, frame - 1, field))
        assert dsc(found == 1, ball(frame) == 1) > 0.96
    assert dsc(ball(0) == 1, ball(1) == 1) < 0.94


def composition_error(spacing_mm, direction):
    """:return: largest error in mm of three motions composed, and the motion itself."""
    side = round(33.6 / spacing_mm)
    options = replace(OPTIONS, shape=(side, side), spacing_mm=spacing_mm)
    motion = EchoSequence(np.empty(0), np.empty(0), HEART, options)
    whole = Composition(motion.grid)
    for pair in pair_indices(4, direction):
        whole.advance(TrackedPair(*pair, motion.ddf(*pair).astype(np.float32)))
    ends = (3, 0) if direction == "backward" else (0, 3)
    expected = motion.ddf(*ends)
    # beyond the frames, fields go on as at their borders
    inner = (slice(side // 6, -side // 6), slice(side // 6, -side // 6))
    apart = np.abs(whole.ddf - expected)[inner].max() * spacing_mm
    return apart, np.abs(expected[inner]).max() * spacing_mm


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_composed_motion_is_the_formula_to_the_error_of_interpolation(direction):
    """Which falls with the square of the voxels' side, as linear interpolation does."""
    coarse, motion = composition_error(0.7, direction)
    fine, _ = composition_error(0.35, direction)
    assert motion > 1.5 and coarse < 0.03
    assert 3 < coarse / fine < 5


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_points_are_followed_to_where_their_tissue_goes(direction):
    """Within hundredths of a voxel, in either direction."""
    sequence = echo().sequence
    start = echo().points(0).points
    trail = PointTrail(start, sequence.grid)
    for pair in track(sequence, Known(truth), direction):
        found = trail.advance(pair)
        expected = echo().points(max(pair.fixed, pair.moving)).points
        np.testing.assert_allclose(found, expected, atol=0.02)
    middle = echo().points(3).points
    assert np.linalg.norm(middle - start, axis=1).min() > 0.5


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_the_label_of_a_beating_heart_is_the_one_that_is_known(direction):
    """But for voxels on its borders: Dice above 0.94, where standing still has 0.8."""
    sequence, labels = echo().sequence, echo().labels
    trail = LabelTrail(labels[0], sequence.grid)
    for pair in track(sequence, Known(truth), direction):
        found = trail.advance(pair)
        known = labels[max(pair.fixed, pair.moving)]
        for value in (1, 2):
            assert dsc(found == value, known == value) > 0.94
    assert dsc(labels[0] == 1, labels[4] == 1) < 0.8


def test_a_volume_is_composed_along_all_three_axes():
    """Two constant fields of unlike components, and a label between them."""
    grid = Grid((9, 8, 7), np.diag([1.0, 2.0, 1.5, 1.0]))
    steps = np.array([[1, 0, -2], [0, 2, 1]])
    label = texture(grid.shape) > 0.8
    trail = LabelTrail(label, grid)
    for index, step in enumerate(steps):
        field = np.broadcast_to(-step, (*grid.shape, 3)).astype(np.float32)
        found = trail.advance(TrackedPair(index + 1, index, field))
    total = steps.sum(axis=0)
    np.testing.assert_array_equal(trail.ddf[4, 4, 4], -total)
    # tissue from beyond the first frame has no label
    expected = np.roll(label, tuple(total), axis=(0, 1, 2))
    expected[:1], expected[:, :2], expected[:, :, -1:] = False, False, False
    np.testing.assert_array_equal(found, expected)


def test_pairs_have_to_follow_each_other():
    sequence = shifting()
    pairs = list(track(sequence, Known(shift_field(sequence))))
    whole = Composition(sequence.grid)
    whole.advance(pairs[0])
    with pytest.raises(ValueError, match="begins at frame 1, got 003_to_002"):
        whole.advance(pairs[2])


def test_a_label_that_cannot_be_led_back_is_told(caplog):
    """Forward fields that fold have no inverse."""
    grid = grid_of((12, 11, 1))
    field = np.zeros((*grid.shape, 3), np.float32)
    field[..., 0] = -1.9 * np.arange(12)[:, None, None] + 11
    field[::2, :, :, 0] += 6
    label = np.ones(grid.shape, np.uint8)
    LabelTrail(label, grid).advance(TrackedPair(0, 1, field))
    assert "000_to_001: the map to the first frame folds" in caplog.text


def test_points_that_no_iteration_finds_are_counted(caplog):
    """A field that leads all tissue to one line: back from there it is not known."""
    grid = grid_of((12, 11, 1))
    field = np.zeros((*grid.shape, 3), np.float32)
    field[..., 0] = 6 - np.arange(12)[:, None, None]
    points = grid.to_world([[5.0, 4.0, 0.0], [6.0, 4.0, 0.0]])
    PointTrail(points, grid).advance(TrackedPair(1, 0, field))
    assert "001_to_000: 1 of 2 points lie where the field folds" in caplog.text
