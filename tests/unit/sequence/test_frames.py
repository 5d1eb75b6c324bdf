"""Tests of deepreg_meta/sequence/frames.py."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepreg_meta.geometry.volume_file import save_volume
from deepreg_meta.sequence.frames import FrameSequence, pair_indices, pair_name
from tests.unit.sequence.examples import grid_of, shifting, texture


def test_the_current_frame_is_fixed_and_the_last_one_moves():
    """As in the source; forward the other way round; both in the order of time."""
    assert pair_indices(4) == [(1, 0), (2, 1), (3, 2)]
    assert pair_indices(4, "forward") == [(0, 1), (1, 2), (2, 3)]
    assert pair_name(12, 11) == "012_to_011"
    with pytest.raises(ValueError, match="direction: expected one of backward, forw"):
        pair_indices(4, "sideways")


def test_intensities_of_eight_bits_keep_their_scale():
    """128 of 255 in every frame, whatever else the frames hold."""
    images = np.full((2, 3, 4, 1), 128, np.uint8)
    images[1, 0] = 10
    sequence = FrameSequence(images, grid_of((3, 4, 1)))
    np.testing.assert_allclose(sequence.scaled(0), 128 / 255)
    assert sequence.scaled(1).min() == pytest.approx(10 / 255)


def test_other_intensities_have_one_scale_for_the_whole_sequence():
    """From the lowest to the highest of all frames: nothing flickers."""
    images = np.array([[-1.0, 1.0], [0.0, 3.0]]).reshape(2, 1, 2, 1)
    sequence = FrameSequence(images, grid_of((1, 2, 1)))
    np.testing.assert_allclose(sequence.scaled(0).ravel(), [0.0, 0.5])
    np.testing.assert_allclose(sequence.scaled(1).ravel(), [0.25, 1.0])


def test_units_follow_what_is_known():
    sequence = shifting()
    assert sequence.unit == "mm" and sequence.speed_unit == "mm/s"
    assert sequence.per_interval == 25.0 and sequence.time_s(3) == pytest.approx(0.12)
    unknown = replace(sequence, time_step_s=None, has_spacing=False)
    assert unknown.speed_unit == "voxels/frame" and unknown.per_interval == 1.0
    assert unknown.time_s(3) is None


def test_a_frame_knows_its_file_where_it_has_one_of_its_own():
    sequence = shifting(num_frames=3)
    paths = tuple(Path(f"f{index}.png") for index in range(3))
    own = replace(sequence, paths=paths).frame(1, mask=sequence.images[0] > 0.5)
    assert own.path == paths[1] and own.index == 1 and own.mask.dtype == bool
    np.testing.assert_array_equal(own.image, sequence.images[1])
    assert replace(sequence, paths=paths[:1]).frame(1).path is None


def test_a_mask_has_to_lie_on_the_frames(tmp_path):
    """By its header, unless that says nothing; then its voxels count."""
    sequence = shifting()
    mask = texture(sequence.grid.shape)
    path = tmp_path / "mask.nii.gz"
    save_volume(path, mask, sequence.grid.affine)
    sequence.check_same_place(path, mask.shape)
    save_volume(path, mask, np.eye(4))
    sequence.check_same_place(path, mask.shape)
    elsewhere = sequence.grid.affine.copy()
    elsewhere[0, 3] = 30.0
    save_volume(path, mask, elsewhere)
    with pytest.raises(ValueError, match="mask.nii.gz: expected the place of its imag"):
        sequence.check_same_place(path, mask.shape)
    with pytest.raises(ValueError, match=r"the grid of the frames, \(20, 17, 1\), got"):
        sequence.check_same_place(path, (17, 20, 1))
