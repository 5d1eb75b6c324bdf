"""Tests of deepreg_meta/sequence/track.py, with registrars that know the answer."""

import numpy as np
import pytest

from deepreg_meta.evaluate.metric import endpoint_errors
from deepreg_meta.geometry.affine import apply
from deepreg_meta.geometry.grid import Grid
from deepreg_meta.sequence.track import (
    TrackedPair,
    displacement_field,
    track,
    velocity_field,
)
from tests.unit.sequence.examples import (
    SHIFT,
    SPACING,
    STEP_S,
    Carrying,
    Known,
    shift_field,
    shifting,
    texture,
)


@pytest.mark.parametrize("direction", ["backward", "forward"])
def test_the_perfect_registrar_finds_a_translation_without_error(direction):
    """Its field warps the moving frame to the fixed one; the error is zero."""
    sequence = shifting()
    truth = shift_field(sequence)
    for pair in track(sequence, Known(truth), direction):
        errors = endpoint_errors(pair.ddf, truth(pair.fixed, pair.moving), SPACING)
        assert errors.max() == 0
        x = np.array([9, 8, 0])
        there = x + pair.ddf[tuple(x)].astype(int)
        fixed, moving = sequence.images[pair.fixed], sequence.images[pair.moving]
        assert moving[tuple(there)] == fixed[tuple(x)]


@pytest.mark.parametrize("direction", ["backward", "forward"])
def test_the_motion_of_the_tissue_is_the_same_in_both_directions(direction):
    """It is told forward in time: the field itself, or its opposite."""
    sequence = shifting()
    pairs = list(track(sequence, Known(shift_field(sequence)), direction))
    assert len(pairs) == 3
    for pair in pairs:
        np.testing.assert_array_equal(pair.motion[4, 5, 0], SHIFT)
    first = "001_to_000" if direction == "backward" else "000_to_001"
    assert pairs[0].name == first


def test_velocity_is_motion_times_frame_rate():
    """2 voxels of 0.5 mm to the left in 0.04 s are -25 mm/s of RAS; and 1 of 0.8 mm."""
    sequence = shifting()
    [pair, *_] = track(sequence, Known(shift_field(sequence)))
    velocity = velocity_field(pair, sequence).vectors
    expected = SHIFT * SPACING * [-1, -1, 1] / STEP_S
    np.testing.assert_allclose(velocity[7, 3, 0], expected, rtol=1e-6)
    assert np.allclose(expected, [-25, 20, 0])
    slow = shifting(time_step_s=None)
    per_frame = velocity_field(pair, slow).vectors
    np.testing.assert_allclose(per_frame, velocity * STEP_S, rtol=1e-6)


def test_displacements_follow_the_axes_of_the_grid():
    """One voxel along axis 0 is where the affine takes it."""
    affine = np.array([[0, -2.0, 0, 5], [1.5, 0, 0, 6], [0, 0, 3, 7], [0, 0, 0, 1]])
    grid = Grid((3, 4, 5), affine)
    ddf = texture((3, 4, 5, 3)) - 0.5
    field = displacement_field(ddf, grid)
    x = np.array([1, 2, 3])
    moved = apply(affine, x + ddf[1, 2, 3])
    np.testing.assert_allclose(field.map_points(grid.to_world(x)), moved, atol=1e-6)


def test_frames_are_handed_over_in_order_with_their_regions():
    sequence = shifting()
    region = np.stack([texture(sequence.grid.shape, i) > 0.5 for i in range(4)])
    registrar = Known(shift_field(sequence))
    list(track(sequence, registrar, region=region))
    asked = [(fixed.index, moving.index) for fixed, moving in registrar.asked]
    assert asked == [(1, 0), (2, 1), (3, 2)]
    for frames in registrar.asked:
        for frame in frames:
            np.testing.assert_array_equal(frame.image, sequence.images[frame.index])
            np.testing.assert_array_equal(frame.mask, region[frame.index])


def test_pairs_come_as_they_are_registered():
    """Nothing is registered before it is asked for."""
    registrar = Known(shift_field(shifting()))
    pairs = track(shifting(), registrar)
    next(pairs)
    assert len(registrar.asked) == 1


def test_a_registrar_that_carries_starts_anew_with_the_first_pair():
    sequence = shifting()
    for carry, expected in ((True, [False, True, True]), (False, [False] * 3)):
        registrar = Carrying(shift_field(sequence))
        list(track(sequence, registrar, carry=carry))
        assert registrar.carried == expected
    with pytest.raises(ValueError, match="takes `carry`, got Known, which starts anew"):
        track(sequence, Known(shift_field(sequence)), carry=True)


def test_a_field_that_is_none_is_refused():
    """By the name of its pair."""
    sequence = shifting()
    with pytest.raises(ValueError, match=r"001_to_000: expected a field of shape \(20"):
        list(track(sequence, Known(lambda *_: np.zeros((3, 3)))))

    def diverged(fixed, moving):
        field = np.zeros((*sequence.grid.shape, 3))
        field[2, 3, 0, 1] = np.nan if fixed == 2 else 0
        return field

    with pytest.raises(ValueError, match="002_to_001: expected a finite displacement "):
        list(track(sequence, Known(diverged)))


def test_the_time_that_a_pair_takes_is_measured():
    [pair, *_] = track(shifting(), Known(shift_field(shifting())))
    assert 0 < pair.seconds < 10
    timed = Known(shift_field(shifting()))
    timed.seconds = 1.25  # a registrar that measures itself
    assert next(track(shifting(), timed)).seconds == 1.25
    assert TrackedPair(0, 1, pair.ddf).seconds == 0
